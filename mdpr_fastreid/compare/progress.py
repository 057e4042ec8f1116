"""One line that says what runs, how far it is and what is left of the whole comparison."""

import shutil
import sys
import time
from collections.abc import Sequence
from typing import TextIO

from mdpr_fastreid.compare import records
from mdpr_fastreid.compare.plan import Plan, Run

SECONDS_BETWEEN_LINES = 30.0


class StatusLine:
    """Rewritten in place on a terminal, written anew now and then elsewhere.

    Args:
        plan: what the runs belong to.
        left: the runs that are to be done.
        stream: where it goes.
    """

    def __init__(self, plan: Plan, left: Sequence[Run], stream: TextIO | None = None) -> None:
        self._plan, self._left = plan, list(left)
        self._stream = stream or sys.stderr
        self._on_terminal = self._stream.isatty()
        self._last = float("-inf")
        self._width = 0
        self._seconds: dict[str, list[float]] = {}

    def ended(self, run: Run, seconds: float) -> None:
        """Say how a run ended, on a line that stays."""
        self._left.remove(run)
        folder = self._plan.folder(run)
        result = records.read_result(folder)
        if result:
            self._seconds.setdefault(run.method.name, []).append(seconds)
            outcome = f"mAP {result['metrics']['mAP']:.1f}, Rank-1 {result['metrics']['Rank-1']:.1f}"
        else:
            failure = records.read_json(folder / records.FAILURE) or {}
            outcome = f"failed: {failure.get('error', 'no result')} (see {failure.get('log', folder)})"
        self._write(f"{run.name}: {outcome}, {duration(seconds)}", stays=True)

    def show(self, running: Sequence[tuple[Run, float]]) -> None:
        """Show the runs at work, each with the time it was started (``time.monotonic``)."""
        now = time.monotonic()
        if not running or now - self._last < (1 if self._on_terminal else SECONDS_BETWEEN_LINES):
            return
        self._last = now
        states = [self._state(run, now - since) for run, since in running]
        done = len(self._plan.runs) - len(self._left)
        left = self._seconds_left(running, now)
        ending = f"{duration(left)} left of all" if left is not None else "time left unknown yet"
        self._write(f"[{done} of {len(self._plan.runs)} done] {'; '.join(states)} | {ending}")

    def close(self) -> None:
        """Leave the line."""
        if self._on_terminal and self._width:
            self._write("", stays=True)

    def _state(self, run: Run, seconds: float) -> str:
        told = records.read_json(self._plan.folder(run) / records.PROGRESS) or {"phase": "starting"}
        if told["phase"] != "training":
            return f"{run.name}: {told['phase']}, {duration(seconds)} so far"
        return f"{run.name}: iteration {told['iteration']}/{told['total']}, {duration(told['seconds_left'])} left"

    def _seconds_left(self, running: Sequence[tuple[Run, float]], now: float) -> float | None:
        """Of runs whose method ran before, its mean time; of others, the mean of what is known."""
        known = {name: sum(values) / len(values) for name, values in self._seconds.items()}
        told = {run: records.read_json(self._plan.folder(run) / records.PROGRESS) or {} for run, _ in running}
        for run, since in running:
            if "seconds_left" in told[run]:
                known.setdefault(run.method.name, now - since + told[run]["seconds_left"])
        if not known:
            return None
        usual = sum(known.values()) / len(known)

        def whole(run: Run) -> float:
            return known.get(run.method.name, usual)

        at_work = [told[run].get("seconds_left", max(0.0, whole(run) - (now - since))) for run, since in running]
        waiting = sum(whole(run) for run in self._left if run not in told)
        return max(at_work) + waiting / len(running)

    def _write(self, line: str, stays: bool = False) -> None:
        if self._on_terminal:
            line = line if stays else line[: _columns() - 1]
            print(f"\r{line:<{self._width}}", end="\n" if stays else "", file=self._stream, flush=True)
            self._width = 0 if stays else len(line)
        else:
            print(line, file=self._stream, flush=True)


def duration(seconds: float) -> str:
    """``8 s``, ``4 min``, ``2 h 5 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _columns() -> int:
    return shutil.get_terminal_size((120, 24)).columns
