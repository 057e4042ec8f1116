"""Progress of long work: a bar on a terminal, a line now and then elsewhere."""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """How far work is: a bar on a terminal's stderr, elsewhere lines of the log, or of stderr.

    Args:
        total: steps in all; None where nobody knows.
        description: what is being done, e.g. "training".
        done: steps done before, by an earlier run.
        delay: seconds before the bar appears, so that short work shows none.
    """

    def __init__(self, total: int | None, description: str, done: int = 0, delay: float = 0.0) -> None:
        self._total, self._description, self._first, self._done = total, description, done, done
        self._start = self._last_line = time.monotonic()
        self._note = ""
        self._on_terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=total, initial=done, desc=description, leave=False, delay=delay, disable=not self._on_terminal
        )

    def step(self, note: str | Callable[[], str] = "", steps: int = 1) -> None:
        """Count what was done.

        Args:
            note: displayed beside it; what is called for it, now and then only, may take long.
            steps: how many steps were done since the last call.
        """
        first = self._done == self._first
        self._done += steps
        now = time.monotonic()
        is_due = now - self._last_line >= SECONDS_BETWEEN_LINES
        if not callable(note):
            self._note = note
        elif is_due or first:
            self._note = note()
        self._bar.set_postfix_str(self._note, refresh=False)
        self._bar.update(steps)
        if not is_due:
            return
        self._last_line = now
        if not self._on_terminal:
            ending = f", {self._note}" if self._note else ""
            _write_line(f"{self._description}: {self._how_far(now - self._start)}{ending}")

    def _how_far(self, seconds: float) -> str:
        if self._total is None:
            return f"{self._done} so far"
        left = seconds / max(1, self._done - self._first) * (self._total - self._done)
        return f"{self._done} of {self._total}, {left:.0f} s left"

    def close(self) -> None:
        """Take the bar off the terminal."""
        self._bar.close()


class StatusLine:
    """A line of text that is rewritten in place on a terminal, and written anew now and then elsewhere.

    Args:
        stream: where it goes; stderr by default.
        seconds_between_lines: elsewhere than on a terminal.
    """

    def __init__(self, stream: TextIO | None = None, seconds_between_lines: float = 30.0) -> None:
        self._stream = stream or sys.stderr
        self._on_terminal = self._stream.isatty()
        self._seconds = 1.0 if self._on_terminal else seconds_between_lines
        self._last = float("-inf")
        self._bar = tqdm(
            bar_format="{desc}", file=self._stream, leave=False, dynamic_ncols=True, disable=not self._on_terminal
        )

    def show(self, text: Callable[[], str]) -> None:
        """Display what ``text()`` returns; it is called only when a line is due."""
        now = time.monotonic()
        if now - self._last < self._seconds:
            return
        self._last = now
        if self._on_terminal:
            self._bar.set_description_str(text())
        else:
            print(text(), file=self._stream, flush=True)

    def add(self, line: str) -> None:
        """Write a line that stays, above the one that is rewritten."""
        self._bar.clear()
        print(line, file=self._stream, flush=True)

    def close(self) -> None:
        """Take the line off the terminal."""
        self._bar.close()


def with_progress(items: Iterable, progress: Progress) -> Iterator:
    """The items, each of which is a step of ``progress``; its bar is taken off at the end."""
    try:
        for item in items:
            yield item
            progress.step()
    finally:
        progress.close()


def counted(description: str) -> Callable[[int, int], None]:
    """A display for work that reports ``(done, total)``, of which the first report says what was done before."""
    progress: Progress | None = None
    before = 0

    def report(done: int, total: int) -> None:
        nonlocal progress, before
        if progress is None:
            progress = Progress(total, description, done)
        elif done > before:
            progress.step(steps=done - before)
        before = done
        if done >= total:
            progress.close()

    return report


def _write_line(line: str) -> None:
    log = logging.getLogger("fastreid")
    if log.hasHandlers() and log.isEnabledFor(logging.INFO):
        log.info(line)
    else:
        print(line, file=sys.stderr, flush=True)
