"""The outcome of a comparison as tables and sentences, and all of it as Markdown."""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from tabulate import tabulate

from mdpr_fastreid.compare.bootstrap import DRAWS, LEVEL, Interval
from mdpr_fastreid.compare.differences import Differences
from mdpr_fastreid.compare.plan import Plan
from mdpr_fastreid.compare.provenance import machine_of, without_home
from mdpr_fastreid.compare.summary import (
    TRAINING_ACCURACY,
    Spread,
    Summary,
    accuracy_names,
    clear_best,
    further_names,
    own_metrics,
    pairing_names,
)
from mdpr_fastreid.errors import printable
from mdpr_fastreid.io import write_whole

_MOST_LISTED = 6
_NO_DIFFERENCES = Differences()
# What Markdown, or HTML in it, would take for markup; a backslash counts only before one of these
_MARKUP = re.compile(r"[`*<|&]|\](?=\()|\\(?=[\\`*<|&\]])")
_ESCAPED_BAR = r"\|"


class Cell(NamedTuple):
    """A cell of a table."""

    text: str
    style: Literal["", "strong", "code"] = ""


def accuracy_headings(summaries: Sequence[Summary], reranked: bool = False) -> list[str]:
    """Of :func:`accuracy_rows`."""
    return ["method", *accuracy_names(summaries), *([] if reranked else further_names(summaries))]


def accuracy_rows(summaries: Sequence[Summary], reranked: bool = False) -> list[list[Cell]]:
    """A row a method: title, then mean and deviation of each of ``accuracy_names``, clear bests ``strong``.

    The training accuracy and numbers that models report of themselves follow, unless ``reranked``. More of the first
    is not better, and of the others that is not known, so that none is ``strong``.
    """
    rows = _rows_with_best(summaries, accuracy_names(summaries), reranked)
    for name in [] if reranked else further_names(summaries):
        spreads = [summary.spread(name) for summary in summaries]
        digits = _SHARE_DIGITS if all(abs(value.mean) <= 1 for value in spreads if value) else 1
        for row, value in zip(rows, spreads, strict=True):
            row.append(Cell(with_deviation(value, digits)))
    return rows


def pairing_rows(summaries: Sequence[Summary]) -> list[list[Cell]]:
    """A row a method: title, then what ``pairing_names`` names, clear bests ``strong``; none without pairings."""
    names = pairing_names(summaries)
    return _rows_with_best(summaries, names) if names else []


def pairing_headings(summaries: Sequence[Summary]) -> list[str]:
    """Of :func:`pairing_rows`: ``I2V/mAP`` is ``I2V mAP``."""
    return ["method", *(" ".join(name.rsplit("/", 1)) for name in pairing_names(summaries))]


PAIRING_CAPTION = (
    "Each pairing of what a model gives of the queries and of the gallery; in percent, not re-ranked. Other tables, "
    "curves and rank lists are of the first one that a model has."
)


def _rows_with_best(summaries: Sequence[Summary], names: Sequence[str], reranked: bool = False) -> list[list[Cell]]:
    best = {name: clear_best({one.method.name: one.spread(name, reranked) for one in summaries}) for name in names}
    rows = []
    for summary in summaries:
        cells = []
        for name in names:
            value = with_deviation(summary.spread(name, reranked))
            cells.append(Cell(value, "strong" if best[name] == summary.method.name else ""))
        rows.append([Cell(summary.method.title), *cells])
    return rows


def difference_headings(differences: Differences) -> list[str]:
    """Of :func:`difference_rows`."""
    pairing = ["pairing"] if differences.has_pairings else []
    return ["method", *pairing, "all seeds", "clear", *(f"seed {seed}" for seed in _seeds(differences))]


def difference_rows(differences: Differences) -> list[list[Cell]]:
    """A row for each difference of mAP: its title, what it is for all seeds, whether it is clear, and for each seed."""
    rows = []
    for row in differences.rows:
        pairing = [Cell(row.pairing)] if differences.has_pairings else []
        pooled = Cell(with_interval(row.pooled), "strong" if row.clear else "")
        seeds = [Cell(with_interval(row.seeds.get(seed))) for seed in _seeds(differences)]
        rows.append([Cell(row.title), *pairing, pooled, Cell("yes" if row.clear else "no"), *seeds])
    return rows


def _seeds(differences: Differences) -> list[int]:
    return sorted({seed for row in differences.rows for seed in row.seeds})


def with_interval(value: Interval | None) -> str:
    """``+1.3 [+0.2, +2.5]``; empty for none."""
    return "" if value is None else f"{value.mean:+.1f} [{value.low:+.1f}, {value.high:+.1f}]"


def difference_caption(differences: Differences) -> str:
    """What the differences are of, how their intervals were found, and what clear means."""
    first = differences.rows[0]
    return (
        f"Points of mAP above {differences.reference}, in brackets the {LEVEL} % interval of a paired bootstrap: "
        f"{DRAWS:,} draws of the {first.identities:,} test identities, each with all of its queries "
        f"({first.queries:,} in all), as queries of one identity are not independent. All seeds: of the mean over the "
        "seeds that both methods have. Clear: two seeds or more, all with the same sign, and an interval of all seeds "
        "without 0. Each row stands alone: of 20 rows without a difference, one has such an interval by chance."
    )


def cost_rows(summaries: Sequence[Summary]) -> list[list[Cell]]:
    """A row a method: title, parameters, multiply-adds, images a second in training and inference, feature length."""
    rows = []
    for summary in summaries:
        row = [summary.method.title, f"{summary.cost.parameters / 1e6:.2f}", f"{summary.cost.multiply_adds / 1e9:.2f}"]
        for name in ("training_images_per_second", "inference_images_per_second"):
            row.append(with_deviation(summary.spread(name), digits=0))
        length = summary.spread("feature_length")
        row.append(f"{length.mean:.0f}" if length else "")
        rows.append([Cell(text) for text in row])
    return rows


def command_rows(plan: Plan, summaries: Sequence[Summary]) -> list[list[Cell]]:
    """A row a method: title, and the command that repeats its first run."""
    return [[Cell(one.method.title), Cell(command_of(one, plan.imports), "code")] for one in summaries]


_OF_TRAINING = "share of the augmented training images classified rightly, in the last tenth of the iterations"
_SHARE_DIGITS = 3  # of numbers that are at most 1
COST_HEADINGS = (
    "method",
    "parameters, M",
    "multiply-adds, G",
    "training, images/s",
    "inference, images/s",
    "feature length",
)
COST_CAPTION = (
    "Parameters while training; multiply-adds of one image at inference. Speeds are those of the median training step, "
    "loading included, and of the median batch in evaluation, the network folded (TEST.FOLDED); ± over seeds."
)


def with_deviation(value: Spread | None, digits: int = 1) -> str:
    """``41.3 ± 0.8``; without the deviation for one seed, empty for none."""
    if value is None:
        return ""
    mean = f"{value.mean:.{digits}f}"
    return mean if value.deviation is None else f"{mean} ± {value.deviation:.{digits}f}"


def caption(plan: Plan, summaries: Sequence[Summary]) -> str:
    """What the numbers are of, how many seeds there were, and what bold means."""
    counts = {len(summary.results) for summary in summaries}
    planned = len(plan.seeds)
    if counts == {planned}:
        seeds = f"{planned} seeds" if planned > 1 else "1 seed"
    elif len(summaries) > _MOST_LISTED:
        seeds = f"{_range(counts)} finished seeds of {planned}"
    else:
        finished = ", ".join(f"{summary.method.title} {len(summary.results)}" for summary in summaries)
        seeds = f"finished seeds of {planned}: {finished}"
    if all(count > 1 for count in counts if count):
        spread = (
            "mean ± sample standard deviation over seeds; bold leads every other method by more than one standard "
            "deviation, its own and the other's"
        )
    else:
        spread = "one seed has no deviation that would distinguish a difference from noise, so nothing is bold"
    logged, own = TRAINING_ACCURACY in further_names(summaries), own_metrics(summaries)
    trained = f" {TRAINING_ACCURACY.capitalize()}: {_OF_TRAINING}." if logged else ""
    reported = f" {', '.join(own)}: as the models report {'it' if len(own) == 1 else 'them'}." if own else ""
    return f"In percent; {setting(plan)}, {seeds}: {spread}.{trained}{reported}"


def _range(counts: Iterable[int]) -> str:
    different = sorted(set(counts))
    return f"{different[0]} to {different[-1]}" if len(different) > 1 else str(different[0])


def setting(plan: Plan) -> str:
    """Data, size and length of the runs in a few words."""
    size, solver = "x".join(map(str, plan.shared.INPUT.SIZE_TEST)), plan.shared.SOLVER
    return f"{plan.data.name}, {size}, {solver.MAX_EPOCH} epochs in batches of {solver.IMS_PER_BATCH}"


def verdict(plan: Plan, summaries: Sequence[Summary]) -> str:
    """One sentence or two on who leads in mAP, or what an ablation changes, and whether that is more than noise."""
    spreads = {one.method.title: one.spread("mAP") for one in summaries}
    finished = {title: value for title, value in spreads.items() if value}
    if len(finished) < 2:
        return "Fewer than two methods are finished: there is nothing to compare yet."
    if plan.ablation and plan.methods[0].title in finished:
        return _verdict_of_ablation(plan.methods[0].title, finished)
    (leader, first), (next_best, second) = sorted(finished.items(), key=lambda pair: -pair[1].mean)[:2]
    lead = f"{leader} leads in mAP, {first.mean:.1f} to {second.mean:.1f} of {next_best}"
    if clear_best(spreads):
        seeds = _range(value.count for value in finished.values())
        return f"{lead}: more than one standard deviation, over {seeds} seeds."
    if first.deviation is None or second.deviation is None:
        return f"{lead}; with one seed that can be noise."
    largest = max(first.deviation, second.deviation)
    if first.mean - second.mean <= largest:
        return f"{lead}: within one standard deviation ({largest:.1f}), so this comparison shows no winner."
    return f"{lead}, but not every method has the seeds, or the lead, that a winner needs."


def _verdict_of_ablation(full: str, spreads: Mapping[str, Spread]) -> str:
    whole = spreads[full]
    reached = f"{full} reaches {with_deviation(whole)} mAP."
    compared = {title: value for title, value in spreads.items() if title != full and value.deviation is not None}
    if whole.deviation is None or not compared:
        return f"{reached} With one seed no row can be distinguished from noise."
    differences = {
        title: value.mean - whole.mean
        for title, value in compared.items()
        if abs(value.mean - whole.mean) > max(value.deviation, whole.deviation)
    }
    if not differences:
        return f"{reached} No row differs from it by more than one standard deviation."
    listed = ", ".join(f"{title} ({change:+.1f})" for title, change in sorted(differences.items(), key=lambda p: p[1]))
    return f"{reached} By more than one standard deviation, its own and {full}'s, differ: {listed}."


def problems(plan: Plan, summaries: Sequence[Summary]) -> list[str]:
    """What is missing from the tables, and why."""
    lines = [f"{title} is left out: {why}" for title, why in plan.left_out.items()]
    for summary in summaries:
        lines += [f"{summary.method.title}, seed {seed}, failed: {error}" for seed, error in summary.failures.items()]
        lines += [
            f"{summary.method.title}, seed {seed}, was run under other conditions ({different}): not shown"
            for seed, different in summary.outdated.items()
        ]
        ended = {*summary.results, *summary.failures, *summary.outdated}
        missing = [seed for seed in summary.folders if seed not in ended]
        if missing:
            lines.append(f"{summary.method.title}, seed {', '.join(map(str, missing))}: not finished yet")
    return lines


def command_of(summary: Summary, imports: Sequence[str] = ()) -> str:
    """What repeats the method's first run by hand, in a folder of its own.

    Args:
        summary: of the method.
        imports: modules that register what configs of the user's own name.
    """
    evaluated = "" if summary.method.trained else "--eval-only "
    settings = shlex.quote(str(summary.settings))
    script = "train_net.py"
    if imports:
        code = f"import {', '.join(imports)}, runpy; runpy.run_path('train_net.py', run_name='__main__')"
        script = f"-c {shlex.quote(code)}"
    command = f"python {script} --config-file {settings} {evaluated}OUTPUT_DIR logs/{summary.method.name}-again"
    return without_home(command)


def markdown(plan: Plan, summaries: Sequence[Summary], differences: Differences = _NO_DIFFERENCES) -> str:
    """All tables, with captions, what is missing, the commands and where it was made."""
    results = [result for summary in summaries for result in summary.results.values()]
    parts = [
        "## Accuracy",
        table([escaped(name) for name in accuracy_headings(summaries)], accuracy_rows(summaries)),
        escaped(caption(plan, summaries)),
        *_further_tables(summaries, differences),
        "## Re-ranked (k-reciprocal)",
        table(accuracy_headings(summaries, reranked=True), accuracy_rows(summaries, reranked=True)),
        "## Cost",
        table(COST_HEADINGS, cost_rows(summaries)),
        COST_CAPTION,
    ]
    missing = [*problems(plan, summaries), *differences.left_out]
    if missing:
        parts += ["## Missing", "\n".join(f"* {escaped(line)}" for line in missing)]
    parts += [
        "## Commands",
        f"All of it: {code(plan.command)}",
        table(("method", "command"), command_rows(plan, summaries)),
        escaped(f"Data {plan.data.name}, hash {plan.data.digest}. Made on: {machine_of(results)}."),
    ]
    return "\n\n".join(parts) + "\n"


def _further_tables(summaries: Sequence[Summary], differences: Differences) -> list[str]:
    parts = []
    if pairing_names(summaries):
        headings = [escaped(name) for name in pairing_headings(summaries)]
        parts += ["## Pairings", table(headings, pairing_rows(summaries)), PAIRING_CAPTION]
    if differences.rows:
        rows = table(difference_headings(differences), difference_rows(differences))
        parts += ["## Differences in mAP", rows, escaped(difference_caption(differences))]
    return parts


def write_table(plan: Plan, summaries: Sequence[Summary], differences: Differences = _NO_DIFFERENCES) -> Path:
    """Write :func:`markdown` to ``table.md`` in the comparison's folder."""
    path = plan.output / "table.md"
    write_whole(path, f"# {escaped(plan.data.name)}: side by side\n\n{markdown(plan, summaries, differences)}".encode())
    return path


def table(headings: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A Markdown table, its columns aligned for a terminal."""
    cells = [[_markdown_cell(cell) for cell in row] for row in rows]
    return tabulate(cells, headings, tablefmt="github", disable_numparse=True)


def escaped(text: str) -> str:
    """Text as Markdown that shows it as it is: no markup, no HTML."""
    return _MARKUP.sub(r"\\\g<0>", printable(text))


def code(text: str) -> str:
    """Text as a code span of Markdown, whatever backticks it has."""
    text = printable(text)
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    return f"{fence}{text}{fence}" if len(fence) == 1 else f"{fence} {text} {fence}"


def _markdown_cell(cell: Cell) -> str:
    if cell.style == "code":
        return code(cell.text.replace("|", _ESCAPED_BAR))  # within backticks nothing else is markup
    return f"**{escaped(cell.text)}**" if cell.style == "strong" else escaped(cell.text)
