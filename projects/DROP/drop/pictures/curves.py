"""Accuracy and parsing quality over a training, from its ``metrics.json``."""

import json
from pathlib import Path

from drop.evaluation import MEAN_IOU, PIXEL_ACCURACY, VISIBILITY_F1
from mdpr_fastreid.errors import UsageError

_RANKED = ("mAP", "Rank-1")
_PARSED = (MEAN_IOU, PIXEL_ACCURACY, VISIBILITY_F1)


def plot_curves(run: Path, picture: Path) -> None:
    """Draw mAP and Rank-1 beside mIoU, pixel accuracy and visibility F1, in percent over iterations.

    Args:
        run: ``OUTPUT_DIR`` of a training with ``TEST.EVAL_PERIOD``; of several test sets the first is drawn.
        picture: the file to write; its suffix says which format.

    Raises:
        UsageError: the run has no such file, or nothing was evaluated in it.
    """
    from matplotlib import pyplot

    found = evaluations(run)
    figure, panels = pyplot.subplots(1, 2, figsize=(9, 3.4), sharex=True)
    for panel, names, title in zip(panels, (_RANKED, _PARSED), ("ranking", "parsing of the test images"), strict=True):
        for name in names:
            points = [(entry["iteration"], entry[name]) for entry in found if name in entry]
            if points:
                panel.plot(*zip(*points, strict=True), marker="o", markersize=3, label=name)
        panel.set(title=title, xlabel="iteration", ylabel="%", ylim=(0, 100))
        panel.grid(alpha=0.3)
        if panel.lines:
            panel.legend()
        else:
            panel.text(0.5, 0.5, "test images without masks", ha="center", transform=panel.transAxes)
    figure.tight_layout()
    try:
        figure.savefig(picture, dpi=150)
    except (OSError, ValueError) as error:
        raise UsageError(f"{picture} cannot be written: {error}") from error
    finally:
        pyplot.close(figure)


def evaluations(run: Path) -> list[dict]:
    """The lines of ``metrics.json`` that have results, of the last training that wrote it.

    Raises:
        UsageError: there is no such file, or no such line.
    """
    file = run / "metrics.json"
    try:
        entries = [json.loads(line) for line in file.read_text().splitlines() if line.strip()]
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}; give the OUTPUT_DIR of a training") from error
    except ValueError as error:
        raise UsageError(f"{file} is no log of metrics: {error}") from error
    found = [entry for entry in map(_of_first_set, entries) if "mAP" in entry]
    if not found:
        raise UsageError(f"{file} has no results: nothing was evaluated in this training (TEST.EVAL_PERIOD)")
    # A training that was begun anew in the same folder goes on in the same file
    starts = [i for i in range(1, len(found)) if found[i]["iteration"] < found[i - 1]["iteration"]]
    return found[max(starts, default=0) :]


def _of_first_set(entry: dict) -> dict:
    """An entry whose results have the names of a single test set: of several, those of the first."""
    first = next((name.rpartition("/")[0] for name in entry if name.endswith("/mAP")), None)
    if first is None:
        return entry
    start = f"{first}/"
    return entry | {name.removeprefix(start): value for name, value in entry.items() if name.startswith(start)}
