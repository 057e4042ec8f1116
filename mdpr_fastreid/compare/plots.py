"""The pictures of a comparison, as SVG files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mdpr_fastreid.compare.curves import read_curves
from mdpr_fastreid.compare.summary import Summary

# Okabe and Ito's palette, which the colour-blind can tell apart
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
_STYLES = ("-", "--", "-.", ":")
_MOST_LINES = len(_COLOURS) * len(_STYLES)
_STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "mdpr compare",  # the same numbers give the same file
    "figure.constrained_layout.use": True,
}
SHOWN_RANKS = 20
"""Length of the CMC curves drawn."""
SMALLEST_SPAN = 4.0
"""Points of mAP that an axis shows at least."""


def write_plots(summaries: Sequence[Summary], folder: Path) -> dict[str, Path]:
    """Draw what the finished runs allow.

    Args:
        summaries: of the methods.
        folder: made if missing.

    Returns:
        The files by what they show: ``accuracy``, ``cmc``, ``speed``, ``training``.
    """
    finished = [one for one in summaries if one.results]
    if not finished:
        return {}
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    with plt.rc_context(_STYLE):
        for name, draw in (("accuracy", _accuracy), ("cmc", _cmc), ("speed", _speed), ("training", _training)):
            figure = draw(finished)
            files[name] = folder / f"{name}.svg"
            figure.savefig(files[name], metadata={"Date": None})
            plt.close(figure)
    return files


def _look(index: int) -> dict[str, object]:
    index %= _MOST_LINES
    return {"color": _COLOURS[index % len(_COLOURS)], "linestyle": _STYLES[index // len(_COLOURS)]}


def _accuracy(summaries: Sequence[Summary]) -> Figure:
    """mAP as points on a line a method: its seeds, their mean and deviation; the re-ranked ones beside it."""
    figure, axes = plt.subplots(figsize=(7, max(4.2, 1.2 + 0.55 * len(summaries))))
    for row, summary in enumerate(summaries):
        for reranked, offset in ((False, -0.14), (True, 0.14)):
            value = summary.spread("mAP", reranked)
            colour = "#999999" if reranked else _look(0)["color"]
            key = "reranked" if reranked else "metrics"
            seeds = [result[key]["mAP"] for result in summary.results.values()]
            axes.plot(seeds, [row + offset] * len(seeds), "o", color=colour, alpha=0.35, markersize=4)
            label = ("re-ranked" if reranked else "distance of the features") if row == 0 else None
            axes.errorbar(
                value.mean, row + offset, xerr=value.deviation or 0, fmt="D", color=colour, capsize=4, label=label
            )
    axes.set_yticks(range(len(summaries)), [one.method.title for one in summaries])
    axes.set_ylim(len(summaries) - 0.5, -0.5)
    axes.set_xlim(_wide_enough(*axes.get_xlim()))
    axes.set_xlabel("mAP, %: seeds (dots), mean and standard deviation (diamonds)")
    figure.legend(loc="outside upper right", ncols=2)
    return figure


def _wide_enough(low: float, high: float) -> tuple[float, float]:
    """Limits that do not blow up differences of a fraction of a point."""
    missing = max(0.0, SMALLEST_SPAN - (high - low)) / 2
    return low - missing, high + missing


def _cmc(summaries: Sequence[Summary]) -> Figure:
    figure, axes = plt.subplots(figsize=(7, 4.2))
    for index, summary in enumerate(summaries):
        shown = min(SHOWN_RANKS, *(len(result["cmc"]) for result in summary.results.values()), SHOWN_RANKS)
        curves = np.array([result["cmc"][:shown] for result in summary.results.values()])
        ranks = np.arange(1, shown + 1)
        axes.plot(ranks, curves.mean(axis=0), label=summary.method.title, **_look(index))
        if len(curves) > 1:
            axes.fill_between(
                ranks, curves.min(axis=0), curves.max(axis=0), color=_look(index)["color"], alpha=0.12, linewidth=0
            )
    axes.set_xlabel("rank k")
    axes.set_ylabel("queries with a match up to rank k, %")
    axes.set_xticks([1, 5, 10, 15, 20])
    _legend(figure, len(summaries))
    return figure


def _speed(summaries: Sequence[Summary]) -> Figure:
    figure, panels = plt.subplots(1, 2, figsize=(11, 3.6), sharey=True)
    for axes, what in zip(panels, ("inference", "training"), strict=True):
        for index, summary in enumerate(summaries):
            speed, accuracy = summary.spread(f"{what}_images_per_second"), summary.spread("mAP")
            if speed is None:
                continue
            label = summary.method.title if what == "inference" else None
            errors = {"xerr": speed.deviation or 0, "yerr": accuracy.deviation or 0}
            axes.errorbar(
                speed.mean, accuracy.mean, **errors, fmt="o", color=_look(index)["color"], capsize=3, label=label
            )
        axes.set_xlabel(f"images a second in {what}")
        axes.set_xlim(left=0)
    panels[0].set_ylabel("mAP, %")
    panels[0].set_ylim(_wide_enough(*panels[0].get_ylim()))
    _legend(figure, len(summaries))
    return figure


def _training(summaries: Sequence[Summary]) -> Figure:
    figure, panels = plt.subplots(1, 3, figsize=(11, 3.6))
    titles = {"total_loss": "sum of the losses (each method has its own)", "mAP": "mAP, %", "lr": "learning rate"}
    for axes, (name, title) in zip(panels, titles.items(), strict=True):
        for index, summary in enumerate(summaries):
            curves = [read_curves(summary.folders[seed])[name] for seed in summary.results]
            _draw_mean(
                axes, [curve for curve in curves if curve], index, summary.method.title if name == "lr" else None
            )
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_xlabel("iteration")
    panels[0].set_yscale("log")
    _legend(figure, len(summaries))
    return figure


def _draw_mean(axes: Axes, curves: Sequence[Sequence[tuple[int, float]]], index: int, label: str | None) -> None:
    """The mean over seeds where all of them have a point."""
    if not curves:
        return
    by_iteration: list[Mapping[int, float]] = [dict(curve) for curve in curves]
    shared = sorted(set.intersection(*(set(one) for one in by_iteration)))
    means = [float(np.mean([one[iteration] for one in by_iteration])) for iteration in shared]
    marker = "o" if len(shared) < 12 else None
    axes.plot(shared, means, label=label, marker=marker, markersize=3, **_look(index))


def _legend(figure: Figure, count: int) -> None:
    figure.legend(loc="outside upper center", ncols=min(count, 5))
