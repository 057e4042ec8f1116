"""One line that says what runs, how far it is and what is left of the whole comparison."""

import time
from collections.abc import Sequence
from typing import TextIO

from mdpr_fastreid.compare import records
from mdpr_fastreid.compare.plan import Plan, Run
from mdpr_fastreid.progress import StatusLine

_MOST_SHOWN = 4  # jobs by name; of more, how many do what


class ComparisonProgress:
    """The runs at work, with what each reports in its folder, and how the others ended.

    Args:
        plan: what the runs belong to.
        left: the runs that are to be done.
        stream: where it goes.
        timed: whether runs start when they are started, and how long it takes can be foreseen.
    """

    def __init__(self, plan: Plan, left: Sequence[Run], stream: TextIO | None = None, timed: bool = True) -> None:
        self._timed = timed
        self._plan, self._left = plan, list(left)
        self._line = StatusLine(stream)
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
        self._line.add(f"{run.name}: {outcome}" + f", {duration(seconds)}" * self._timed)

    def add(self, text: str) -> None:
        """Say something else, on a line that stays."""
        self._line.add(text)

    def show(self, running: Sequence[tuple[Run, float]]) -> None:
        """Show the runs at work, each with the time it was started (``time.monotonic``)."""
        if running:
            self._line.show(lambda: self._text(running, time.monotonic()))

    def close(self) -> None:
        """Take the line off the terminal."""
        self._line.close()

    def _text(self, running: Sequence[tuple[Run, float]], now: float) -> str:
        states = [self._state(run, now - since) for run, since in running]
        if not self._timed and len(states) > _MOST_SHOWN:
            phases = [(self._reported(run) or {"phase": "starting"})["phase"] for run, _ in running]
            states = [f"{phases.count(phase)} {phase}" for phase in dict.fromkeys(phases)]
        done = len(self._plan.runs) - len(self._left)
        left = self._seconds_left(running, now)
        ending = f"{duration(left)} left of all" if left is not None else "time left unknown yet"
        return f"[{done} of {len(self._plan.runs)} done] {'; '.join(states)}" + f" | {ending}" * self._timed

    def _state(self, run: Run, seconds: float) -> str:
        state = self._reported(run) or {"phase": "starting"}
        if state["phase"] != "training":
            return f"{run.name}: {state['phase']}, {duration(seconds)} so far"
        return f"{run.name}: iteration {state['iteration']}/{state['total']}, {duration(state['seconds_left'])} left"

    def _reported(self, run: Run) -> dict:
        return records.read_json(self._plan.folder(run) / records.PROGRESS) or {}

    def _seconds_left(self, running: Sequence[tuple[Run, float]], now: float) -> float | None:
        """Of runs whose method ran before, its mean time; of others, the mean of what is known."""
        known = {name: sum(values) / len(values) for name, values in self._seconds.items()}
        states = {run: self._reported(run) for run, _ in running}
        for run, since in running:
            if "seconds_left" in states[run]:
                known.setdefault(run.method.name, now - since + states[run]["seconds_left"])
        if not known:
            return None
        usual = sum(known.values()) / len(known)

        def whole(run: Run) -> float:
            return known.get(run.method.name, usual)

        at_work = [states[run].get("seconds_left", max(0.0, whole(run) - (now - since))) for run, since in running]
        waiting = sum(whole(run) for run in self._left if run not in states)
        return max(at_work) + waiting / len(running)


def duration(seconds: float) -> str:
    """``8 s``, ``4 min``, ``2 h 5 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
