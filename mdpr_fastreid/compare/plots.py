"""The pictures of a comparison, as SVG files."""

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator

from mdpr_fastreid.compare.curves import read_curves
from mdpr_fastreid.compare.differences import Differences
from mdpr_fastreid.compare.summary import Summary, own_metrics
from mdpr_fastreid.io import write_whole

# Okabe and Ito's palette, which the colour-blind can tell apart
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
_STYLES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "X")
_MOST_LINES = len(_COLOURS) * len(_STYLES)
_STYLE = {
    "text.parse_math": False,  # a name may have dollar signs
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
_PANELS_IN_A_ROW = 3
_INCHES_OF_A_HANDLE, _INCHES_OF_A_LETTER, _INCHES_OF_A_ROW = 0.65, 0.07, 0.2
SHOWN_RANKS = 20
"""Length of the CMC curves drawn."""
SMALLEST_SPAN = 4.0
"""Points of mAP that an axis shows at least."""


def write_plots(summaries: Sequence[Summary], folder: Path, differences: Differences | None = None) -> dict[str, Path]:
    """Draw what the finished runs allow.

    Args:
        summaries: of the methods.
        folder: made if missing.
        differences: of mAP from the first method.

    Returns:
        The files by what they show: ``accuracy``, ``cmc``, ``speed``, ``training``; and ``differences``, if any.
    """
    finished = [one for one in summaries if one.results]
    if not finished:
        return {}
    drawn = {"accuracy": _accuracy, "cmc": _cmc, "speed": _speed, "training": _training}
    if differences is not None and differences.rows:
        drawn["differences"] = lambda _: _differences(differences)
    files = {}
    with plt.rc_context(_STYLE):
        for name, draw in drawn.items():
            figure = draw(finished)
            files[name] = folder / f"{name}.svg"
            save = functools.partial(figure.savefig, format="svg", metadata={"Date": None})
            write_whole(files[name], save)
            plt.close(figure)
    return files


def _look(index: int) -> dict[str, object]:
    index %= _MOST_LINES
    return {"color": _COLOURS[index % len(_COLOURS)], "linestyle": _STYLES[index // len(_COLOURS)]}


def _marker(index: int) -> str:
    return _MARKERS[index % _MOST_LINES // len(_COLOURS)]


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
            label = ("re-ranked" if reranked else "not re-ranked") if row == 0 else None
            axes.errorbar(
                value.mean, row + offset, xerr=value.deviation or 0, fmt="D", color=colour, capsize=4, label=label
            )
    axes.set_yticks(range(len(summaries)), [one.method.title for one in summaries])
    axes.set_ylim(len(summaries) - 0.5, -0.5)
    axes.set_xlim(_wide_enough(*axes.get_xlim()))
    axes.set_xlabel("mAP, %")
    figure.legend(loc="outside upper right", ncols=2)
    return figure


def _wide_enough(low: float, high: float) -> tuple[float, float]:
    """Limits that do not blow up differences of a fraction of a point."""
    missing = max(0.0, SMALLEST_SPAN - (high - low)) / 2
    return low - missing, high + missing


def _differences(differences: Differences) -> Figure:
    """A line for each difference: the seeds, their mean and its interval over test identities."""
    figure, axes = plt.subplots(figsize=(11, max(2.4, 1.2 + 0.4 * len(differences.rows))))
    colour = _look(0)["color"]
    axes.axvline(0, color="#666666", linewidth=1)
    for at, row in enumerate(differences.rows):
        seeds = [one.mean for one in row.seeds.values()]
        axes.plot(seeds, [at + 0.18] * len(seeds), "o", color=colour, alpha=0.35, markersize=4)
        mean, low, high = row.pooled
        errors = [[max(0.0, mean - low)], [max(0.0, high - mean)]]
        look = {"fmt": "D", "color": colour, "markerfacecolor": colour if row.clear else "white", "capsize": 4}
        axes.errorbar(mean, at, xerr=errors, **look)
    names = [f"{row.title}, {row.pairing}" if row.pairing else row.title for row in differences.rows]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(_wide_enough(*axes.get_xlim()))
    axes.set_xlabel(f"mAP above {differences.reference}, points")
    return figure


def _cmc(summaries: Sequence[Summary]) -> Figure:
    figure, axes = plt.subplots(figsize=(7, 4.2))
    for index, summary in enumerate(summaries):
        shown = min([SHOWN_RANKS, *(len(result["cmc"]) for result in summary.results.values())])
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
    _legend(figure, summaries)
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
            look = {"fmt": _marker(index), "color": _look(index)["color"], "capsize": 3}
            axes.errorbar(speed.mean, accuracy.mean, **errors, **look, label=label)
        axes.set_xlabel(f"images a second in {what}")
        axes.set_xlim(left=0)
    panels[0].set_ylabel("mAP, %")
    panels[0].set_ylim(_wide_enough(*panels[0].get_ylim()))
    _legend(figure, summaries)
    return figure


def _training(summaries: Sequence[Summary]) -> Figure:
    titles = {"total_loss": "sum of each method's own losses", "mAP": "mAP, %", "lr": "learning rate"}
    titles |= {name: name for name in own_metrics(summaries)}
    rows = math.ceil(len(titles) / _PANELS_IN_A_ROW)
    figure, grid = plt.subplots(rows, _PANELS_IN_A_ROW, figsize=(11, 3.6 * rows))
    panels = grid.flatten()
    for axes in panels[len(titles) :]:
        axes.remove()
    for axes, (name, title) in zip(panels, titles.items(), strict=False):
        for index, summary in enumerate(summaries):
            curves = [read_curves(summary.folders[seed], (name,))[name] for seed in summary.results]
            _draw_mean(
                axes, [curve for curve in curves if curve], index, summary.method.title if name == "lr" else None
            )
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_xlabel("iteration")
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    panels[0].set_yscale("log")
    # The default writes numbers as formulas, which text.parse_math leaves as they are
    panels[0].yaxis.set_major_formatter(LogFormatter(labelOnlyBase=False))
    panels[0].yaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False))
    panels[1].set_ylim(_wide_enough(*panels[1].get_ylim()))
    _legend(figure, summaries)
    return figure


def _draw_mean(axes: Axes, curves: Sequence[Sequence[tuple[int, float]]], index: int, label: str | None) -> None:
    """The mean over seeds where all of them have a point."""
    if not curves:
        return
    by_iteration: list[Mapping[int, float]] = [dict(curve) for curve in curves]
    shared = sorted(set.intersection(*(set(one) for one in by_iteration)))
    means = [float(np.mean([one[iteration] for one in by_iteration])) for iteration in shared]
    marker = _marker(index) if len(shared) < 12 else None
    axes.plot(shared, means, label=label, marker=marker, markersize=3, **_look(index))


def _legend(figure: Figure, summaries: Sequence[Summary]) -> None:
    """A legend above the axes, in as many columns as the figure is wide for; the figure grows by its other rows."""
    width, height = figure.get_size_inches()
    longest = max(len(one.method.title) for one in summaries)
    columns = min(len(summaries), max(1, int(width / (_INCHES_OF_A_HANDLE + _INCHES_OF_A_LETTER * longest))))
    rows = math.ceil(len(summaries) / columns)
    figure.set_size_inches(width, height + _INCHES_OF_A_ROW * (rows - 1))
    figure.legend(loc="outside upper center", ncols=columns)
