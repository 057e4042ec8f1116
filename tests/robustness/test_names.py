"""Names of files, data sets and methods show as they are: no markup, no HTML, nothing that a terminal obeys."""

import json

import pytest
from support.comparisons import REQUEST, made_up_result
from support.image_trees import market_tree, write_images

from mdpr_fastreid.cli import main
from mdpr_fastreid.compare import plan as planning
from mdpr_fastreid.compare import report
from mdpr_fastreid.config.reading import CONFIGS
from mdpr_fastreid.errors import UsageError, printable

_ESCAPES = "\x1b]0;title\x07\x1b[31m\x9b2J\r\u202e"


def test_what_a_terminal_would_obey_is_escaped_and_letters_stay():
    assert printable("Müller 张伟 a\u3000b ±") == "Müller 张伟 a\u3000b ±"
    assert printable(f"{_ESCAPES}\n\udcff") == r"\x1b]0;title\x07\x1b[31m\x9b2J\r\u202e\n\udcff"
    assert str(UsageError("a\x1b[2J\nb")) == "a\\x1b[2J\nb"


def test_files_named_with_escapes_are_reported_without_them(tmp_path, capsys):
    folder = market_tree(tmp_path / "own", train=3, images=3)
    write_images(folder, ["bounding_box_train/0001_c1s1_\x1b[31m\n.png"])
    (folder / "bounding_box_train/0002_c1s1_\x1b[32m.png").write_bytes(b"")
    assert main(["data", str(folder), "--json", str(tmp_path / "r.json")]) == 1
    printed = capsys.readouterr()
    assert r"0002_c1s1_\x1b[32m.png" in printed.out and "\x1b" not in printed.out + printed.err
    findings = json.loads((tmp_path / "r.json").read_text())[0]["findings"]
    assert any("0002_c1s1_\x1b[32m.png" in finding["message"] for finding in findings)


@pytest.mark.parametrize("words", [["data", "\x1b[31mnone"], ["data", "/\x1b[31m/none"], ["prepare", "\x1b[31mnone"]])
def test_words_with_escapes_are_reported_without_them(words, capsys):
    assert main(words) == 2
    printed = capsys.readouterr().err
    assert r"\x1b[31m" in printed and "\x1b" not in printed and printed.count("\n") == 1


def test_a_method_named_in_html_is_text_in_every_page(tmp_path):
    name = "<script>alert(1)</script>"
    config = tmp_path / "$x_<img src=q onerror=alert(1)>.yml"
    config.write_text(f"_BASE_: {CONFIGS}/Baselines/Base-BoT.yml\n")
    request = REQUEST.__class__(**{**REQUEST.__dict__, "methods": ("bot", str(config)), "output": tmp_path / "out"})
    made = planning.make_plan(request)
    object.__setattr__(made, "command", f"mdpr compare `{name}` --data a")
    for run in made.runs:
        made_up_result(made, run)
    report.write_all(made)
    page, tables = ((tmp_path / "out" / file).read_text() for file in ("report.html", "table.md"))
    assert "<script>" not in page and "<img src=q" not in page and "&lt;img src=q" in page
    assert r"\<img src=q" in tables and "`` mdpr compare `<script>" in tables
    outside_code = "".join(tables.split("``")[::2])
    assert "<script>" not in outside_code
