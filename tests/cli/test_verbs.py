"""What holds for every verb of ``mdpr``."""

import errno
from pathlib import Path

import pytest

import mdpr_fastreid
from mdpr_fastreid import cli

README = (Path(__file__).parents[2] / "README.md").read_text()


@pytest.mark.parametrize("verb", cli.VERBS)
def test_a_verb_explains_itself_and_the_readme_names_it(verb, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([verb, "--help"])
    assert ended.value.code == 0
    assert f"mdpr {verb}" in capsys.readouterr().out
    assert f"`mdpr {verb}`" in README


def test_the_version_is_the_packages(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"mdpr-fastreid {mdpr_fastreid.__version__}\n"


def test_a_full_disk_is_one_line_and_other_failures_are_not_said_to_be_it(monkeypatch, capsys):
    errors = iter([OSError(errno.ENOSPC, "No space left on device", "report.html"), BrokenPipeError()])

    def fail(args):
        raise next(errors)

    monkeypatch.setattr(cli.prepare, "run", fail)
    assert cli.main(["prepare"]) == 1
    assert capsys.readouterr().err.startswith(
        "mdpr prepare: [Errno 28] No space left on device: 'report.html': make room"
    )
    with pytest.raises(BrokenPipeError):
        cli.main(["prepare"])


def test_an_unknown_verb_is_a_mistake_on_the_command_line(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["trian"])
    assert ended.value.code == 2
    assert "trian" in capsys.readouterr().err
