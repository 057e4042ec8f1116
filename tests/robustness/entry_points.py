"""Runs the real entry points in this process, and says what came of a mistake: exit code, line, files written."""

import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from fastreid.engine import default_argument_parser

from mdpr_fastreid import cli
from mdpr_fastreid.engine import run, train_or_evaluate
from mdpr_fastreid.errors import UsageError, printable


class Outcome(NamedTuple):
    """How a command ended."""

    code: int
    error: str
    """What it printed on standard error."""


def train_net(words: Sequence[str], capsys: pytest.CaptureFixture) -> Outcome:
    """``train_net.py WORDS``."""
    return _outcome(lambda: run(train_or_evaluate, default_argument_parser(), list(words)), capsys)


def mdpr(words: Sequence[str], capsys: pytest.CaptureFixture) -> Outcome:
    """``mdpr WORDS``."""
    return _outcome(lambda: cli.main(list(words)), capsys)


def _outcome(command: Callable[[], int], capsys: pytest.CaptureFixture) -> Outcome:
    capsys.readouterr()
    try:
        code = command()
    except SystemExit as ended:  # argparse's way; its usage stands before its line
        code = ended.code
    return Outcome(code, capsys.readouterr().err)


def assert_refused(outcome: Outcome, *words: str) -> None:
    """Exit code 2 and one line, without a traceback, that contains all of these words."""
    assert outcome.code == 2, outcome
    lines = outcome.error.strip().splitlines()
    usage = [line for line in lines if line.startswith(("usage:", " "))]
    assert len(lines) - len(usage) == 1, outcome.error
    assert_line(lines[-1], *words)


def assert_raises_one_line(call: Callable[[], object], *words: str) -> None:
    """A ``UsageError`` of one line that contains all of these words."""
    with pytest.raises(UsageError) as caught:
        call()
    assert_line(str(caught.value), *words)


def assert_line(line: str, *words: str) -> None:
    """One printable line of a readable length that contains all of these words."""
    assert line == printable(line) and "Traceback" not in line
    assert len(line) < 2500
    for part in words:
        assert part in line, f"{part!r} is not in {line!r}"


def files_in(folder: os.PathLike | str) -> dict[str, str]:
    """Every file and folder below a folder, with what it holds."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        is_file = path.is_file() and not path.is_symlink()
        found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest() if is_file else ""
    return found


def on_linux() -> bool:
    """Whether there are pipes and ``/dev/zero``."""
    return sys.platform.startswith("linux")
