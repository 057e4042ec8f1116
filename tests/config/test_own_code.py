"""Code of the user's own is imported from where the user is, by name."""

import argparse
import sys

import pytest

from mdpr_fastreid.config import UnknownNameError
from mdpr_fastreid.config.own_code import add_import_argument, hinting_at_import, import_modules
from mdpr_fastreid.errors import UsageError


def test_modules_of_the_present_folder_are_imported_in_their_order(tmp_path, monkeypatch):
    (tmp_path / "first_of_own.py").write_text("VALUE = 1\n")
    (tmp_path / "second_of_own.py").write_text("from first_of_own import VALUE\nVALUE += 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    parser = argparse.ArgumentParser()
    add_import_argument(parser)
    names = parser.parse_args(["--import", "second_of_own", "--import", "first_of_own"]).imports
    assert [module.VALUE for module in import_modules(names)] == [2, 1]
    assert parser.parse_args([]).imports == []


def test_a_module_that_is_not_there_is_named_with_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=f"--with no_such_module: No module named.*{tmp_path} and PYTHONPATH"):
        import_modules(["no_such_module"], option="--with")


def test_a_name_that_nobody_registered_hints_at_the_option_and_other_errors_stay_as_they_are():
    with pytest.raises(UsageError, match="no such head; code of your own .* --import MODULE"), hinting_at_import():
        raise UnknownNameError("no such head")
    with pytest.raises(ZeroDivisionError), hinting_at_import():
        _ = 1 / 0
