"""How a run went while it trained, from FastReID's ``metrics.json``."""

import contextlib
import json
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

Curve = list[tuple[int, float]]
"""(iteration, value), in order."""


def read_curves(folder: Path, names: Sequence[str] = ("total_loss", "lr", "mAP")) -> dict[str, Curve]:
    """Curves of a run; of iterations that were repeated after a kill the last one counts.

    Args:
        folder: of the run.
        names: of scalars, as FastReID logs them.

    Returns:
        A curve for each name, empty where nothing was logged.
    """
    points: dict[str, dict[int, float]] = {name: {} for name in names}
    for row in _logged(folder):
        for name in names:
            if name in row:
                points[name][int(row["iteration"])] = float(row[name])
    return {name: sorted(found.items()) for name, found in points.items()}


def training_seconds(folder: Path) -> float | None:
    """Seconds of a run's median iteration, loading included; None if none was timed."""
    seconds = [row["time"] for row in _logged(folder) if "time" in row]
    return statistics.median(seconds) if seconds else None


def _logged(folder: Path) -> Iterator[dict]:
    """What was written at each iteration; a line that was cut while it was written is left out."""
    path = folder / "metrics.json"
    for line in path.read_text(errors="replace").splitlines() if path.is_file() else []:
        with contextlib.suppress(json.JSONDecodeError):
            row = json.loads(line)
            if isinstance(row, dict) and "iteration" in row:
                yield row


def training_accuracy(folder: Path) -> float | None:
    """Share of training images, augmented, that a network classified rightly in the last tenth of its training.

    It is the mean of what FastReID logged, each a median of up to 20 batches.

    Args:
        folder: of the run.

    Returns:
        In percent; None where no accuracy was logged.
    """
    curve = read_curves(folder, ("cls_accuracy",))["cls_accuracy"]
    if not curve:
        return None
    last, _ = curve[-1]
    return 100 * statistics.fmean(value for iteration, value in curve if iteration >= 0.9 * last)
