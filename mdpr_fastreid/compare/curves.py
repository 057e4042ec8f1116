"""How a run went while it trained, from FastReID's ``metrics.json``."""

import json
import statistics
from collections.abc import Sequence
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
    path = folder / "metrics.json"
    lines = path.read_text().splitlines() if path.is_file() else []
    for line in lines:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue  # the last line of a run that was killed while it wrote
        for name in names:
            if name in row:
                points[name][int(row["iteration"])] = float(row[name])
    return {name: sorted(found.items()) for name, found in points.items()}


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
