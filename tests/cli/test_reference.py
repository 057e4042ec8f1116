"""The page of all commands says what the commands take."""

from pathlib import Path

from fastreid.engine import default_argument_parser

from mdpr_fastreid import cli
from mdpr_fastreid.cli.reference import PAGE, reference

WRITTEN = PAGE.read_text()


def test_the_page_is_what_the_parsers_give_now():
    assert reference() == WRITTEN, "write it again: python -m mdpr_fastreid.cli.reference"


def test_every_verb_has_a_section():
    assert [line for line in WRITTEN.splitlines() if line.startswith("## mdpr")] == [f"## mdpr {v}" for v in cli.VERBS]


def test_the_section_of_train_net_has_the_options_of_fastreids_parser():
    section = WRITTEN[WRITTEN.index("## train_net.py") :]
    options = [action.option_strings[-1] for action in default_argument_parser()._get_optional_actions()]
    assert [option for option in options if option != "--help" and f"`{option}" not in section] == []


def test_no_default_depends_on_the_machine():
    assert str(Path.home()) not in WRITTEN
    assert str(Path.cwd()) not in WRITTEN
