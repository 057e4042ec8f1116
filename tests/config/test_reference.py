"""The page of all keys."""

import re

from mdpr_fastreid.config import reference
from mdpr_fastreid.config.reference import KEYS


def test_the_page_in_docs_is_what_is_generated():
    assert reference.PAGE.read_text() == reference.reference(), "run: python -m mdpr_fastreid.config.reference"


def test_the_page_has_a_row_for_every_key():
    rows = re.findall(r"^\| \**`([A-Z].*?)`\** \| .* \| .* \| .*\. \|$", reference.reference(), re.MULTILINE)
    assert sorted(rows) == sorted(key.name for key in KEYS)


def test_the_page_is_written_where_it_is_asked_for(tmp_path, capsys):
    reference.main([str(tmp_path / "keys.md")])
    assert (tmp_path / "keys.md").read_text() == reference.reference()
    assert "keys.md" in capsys.readouterr().out
