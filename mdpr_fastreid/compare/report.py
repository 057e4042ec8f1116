"""Everything a comparison shows, written from what its runs have left."""

from dataclasses import dataclass
from pathlib import Path

from mdpr_fastreid.compare import table
from mdpr_fastreid.compare.differences import find_differences
from mdpr_fastreid.compare.page import write_page
from mdpr_fastreid.compare.plan import Plan
from mdpr_fastreid.compare.plots import write_plots
from mdpr_fastreid.compare.provenance import environment
from mdpr_fastreid.compare.records import make_output
from mdpr_fastreid.compare.summary import summarize, write_results


@dataclass(frozen=True)
class Outcome:
    """What was written, and how it went."""

    text: str
    """The tables, for a terminal."""
    files: list[Path]
    failed: bool
    """Whether a run failed."""


def write_all(plan: Plan) -> Outcome:
    """Write ``results.json``, ``results.csv``, ``table.md``, the plots and ``report.html`` into the plan's folder.

    Raises:
        UsageError: it cannot be written to.
    """
    make_output(plan.output)
    summaries = summarize(plan)
    differences = find_differences(summaries)
    write_results(plan, summaries, environment(), differences.as_json())
    plots = write_plots(summaries, plan.output / "plots", differences)
    files = [
        plan.output / "results.json",
        plan.output / "results.csv",
        table.write_table(plan, summaries, differences),
        *plots.values(),
        write_page(plan, summaries, plots, differences),
    ]
    return Outcome(
        text=table.markdown(plan, summaries, differences),
        files=files,
        failed=any(summary.failures for summary in summaries),
    )
