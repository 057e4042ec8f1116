"""The page of all commands, written from their parsers: ``python -m mdpr_fastreid.cli.reference``."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from mdpr_fastreid import cli

PAGE = Path(__file__).parents[2] / "docs/reference/cli.md"

_INTRODUCTION = """# Commands

`mdpr <verb>` and `python -m mdpr_fastreid <verb>` are the same. `mdpr --version` prints the version. Exit codes: 0 for
success, 1 for a failure, 2 for a mistake on the command line, 130 for an interruption.

This page is generated from the commands by `python -m mdpr_fastreid.cli.reference`. For training and evaluation see
[`train_net.py`](#train_netpy) at its end.
"""

_TRAIN_NET = """
## train_net.py

FastReID's command line: `python train_net.py [options] [KEY VALUE ...]`.

| option | |
| --- | --- |
| `--config-file FILE` | a config; the plugin's configs are found from any folder, also as `MDPR/duke_r50.yml` |
| `--resume` | continue from the last checkpoint in `OUTPUT_DIR` |
| `--eval-only` | evaluate `MODEL.WEIGHTS` and train nothing |
| `--num-gpus N` | processes on this machine: GPUs, or CPU processes where there is no GPU |
| `--num-machines N`, `--machine-rank R`, `--dist-url URL` | several machines: number, this one, address of the first |
| `KEY VALUE ...` | [settings](config.md) on top of the config's, after all options |
"""


def reference() -> str:
    """The page, in Markdown."""
    verbs = "\n".join(_section(parser, depth=2) for parser in _children(cli.build_parser()))
    return f"{_INTRODUCTION}\n{verbs}{_TRAIN_NET}"


def _section(parser: argparse.ArgumentParser, depth: int) -> str:
    children = list(_children(parser))
    positionals = [action for action in parser._get_positional_actions() if not _is_choice_of_children(action)]
    usage = " ".join([parser.prog, *["[options]"] * any(_options(parser)), *(_words(action) for action in positionals)])
    rows = [f"| `{_flags(action)}` | {_description(action)} |" for action in [*_options(parser), *positionals]]
    heading = f"{'#' * depth} {parser.prog}\n\n{_sentence(parser.description)}\n"
    if children:
        return heading + "\n" + "\n".join(_section(child, depth + 1) for child in children)
    table = ["", "| option | |", "| --- | --- |", *rows] if rows else []
    return heading + "\n" + "\n".join([f"```text\n{usage}\n```", *table]) + "\n"


def _children(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    for action in parser._actions:
        if _is_choice_of_children(action):
            yield from action.choices.values()


def _is_choice_of_children(action: argparse.Action) -> bool:
    return isinstance(action, argparse._SubParsersAction)


def _options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in parser._get_optional_actions() if not isinstance(action, argparse._HelpAction)]


def _words(action: argparse.Action) -> str:
    """A positional argument as it stands in a usage line."""
    name = action.metavar or action.dest
    return {None: f"{name}", "?": f"[{name}]", "*": f"[{name} ...]", "+": f"{name} [...]"}.get(
        action.nargs, f"[{name} ...]"
    )


def _flags(action: argparse.Action) -> str:
    if not action.option_strings:
        return action.metavar or action.dest
    flag = action.option_strings[-1]
    if action.nargs == 0:
        return flag
    value = action.metavar or (
        "{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest.upper()
    )
    value = f"[{value}]" if action.nargs == "?" else value
    return f"{flag} {value}{' ...' if action.nargs in ('+', '*') else ''}".replace("|", r"\|")


def _description(action: argparse.Action) -> str:
    text = " ".join((action.help or "").split()).replace("|", r"\|")
    notes = ["required"] if action.required and action.option_strings else []
    if _tells_default(action, text):
        notes.append(f"default: {_default(action)}")
    return " ".join([text, *(f"({note})" for note in notes)]).strip()


def _tells_default(action: argparse.Action, text: str) -> bool:
    is_a_flag = action.nargs == 0 or not action.option_strings
    return not is_a_flag and "default" not in text and action.default not in (None, [], "")


def _default(action: argparse.Action) -> str:
    """The default as it would be written on a command line."""
    is_size = action.metavar == "HxW"
    values = action.default if action.nargs else [action.default]
    return " ".join("x".join(map(str, value)) if is_size else str(value) for value in values)


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return f"{text[0].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


if __name__ == "__main__":
    PAGE.write_text(reference())
    print(f"wrote {PAGE}")
