"""Where runs are done: as processes of this machine (``local``), or as jobs of a cluster (``submitted``).

=============  ===========================================================================================
``local``      a process a run
``submitted``  a job a run, submitted once more when it ended without a result
``attempts``   the file in a run's folder that says as which job it was submitted
``work``       what a job does
``slurm``      the cluster: submission through submitit, states by squeue
=============  ===========================================================================================
"""

from collections.abc import Sequence
from typing import Protocol

from mdpr_fastreid.compare.plan import Run


class CancelledError(Exception):
    """``--cancel`` has ended the comparison; says how it goes on."""


class Launcher(Protocol):
    """Starts runs, sees which of them ended, and leaves them when the comparison is interrupted."""

    at_once: int | None
    """Most runs at work; None for no limit."""
    seconds: float
    """Between two looks at them."""
    elsewhere: bool
    """Whether others decide when runs start: how long it takes is not known, and the report is written as runs end."""
    when_left: str
    """What becomes of the runs that it leaves, in words."""

    def start(self, run: Run) -> None:
        """Start a run in its folder, or take up the one at work there."""

    def ended(self, runs: Sequence[Run]) -> list[Run]:
        """Those of the started runs that are over: each has its result, or ``failure.json`` says why not."""

    def notices(self) -> list[str]:
        """What the user should know of what happened since the last call, a line each."""

    def leave(self, runs: Sequence[Run]) -> None:
        """The comparison ends before these runs: end them, or let them go on where that is what they are for."""
