"""What holds for every verb of ``mdpr``."""

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


def test_an_unknown_verb_is_a_mistake_on_the_command_line(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["trian"])
    assert ended.value.code == 2
    assert "trian" in capsys.readouterr().err
