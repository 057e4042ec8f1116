"""Progress of long work: a bar on a terminal, a line now and then elsewhere."""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """How far a known amount of work is, shown on a terminal's stderr as a bar and elsewhere as log lines.

    Args:
        total: steps in all.
        description: what is being done, e.g. "training".
        done: steps done before, by an earlier run.
        delay: seconds before the bar appears, so that short work shows none.
    """

    def __init__(self, total: int, description: str, done: int = 0, delay: float = 0.0) -> None:
        self._total, self._description, self._first, self._done = total, description, done, done
        self._start = self._last_line = time.monotonic()
        self._note = ""
        self._on_terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=total, initial=done, desc=description, leave=False, delay=delay, disable=not self._on_terminal
        )

    def step(self, note: str | Callable[[], str] = "") -> None:
        """One step more is done.

        Args:
            note: shown beside it; what is called for it, now and then only, may take long.
        """
        self._done += 1
        now = time.monotonic()
        is_due = self._done == self._first + 1 or now - self._last_line >= SECONDS_BETWEEN_LINES
        if not callable(note):
            self._note = note
        elif is_due:
            self._note = note()
        self._bar.set_postfix_str(self._note, refresh=False)
        self._bar.update()
        if now - self._last_line < SECONDS_BETWEEN_LINES:
            return
        self._last_line = now
        if not self._on_terminal:
            left = (now - self._start) / (self._done - self._first) * (self._total - self._done)
            ending = f", {self._note}" if self._note else ""
            logging.getLogger("fastreid").info(
                f"{self._description}: {self._done} of {self._total}, {left:.0f} s left{ending}"
            )

    def close(self) -> None:
        """Take the bar off the terminal."""
        self._bar.close()


def with_progress(items: Iterable, progress: Progress) -> Iterator:
    """The items, each of which is a step of ``progress``; its bar is taken off at the end."""
    try:
        for item in items:
            yield item
            progress.step()
    finally:
        progress.close()
