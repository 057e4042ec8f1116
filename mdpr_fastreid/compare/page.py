"""The report as one page of HTML that needs no other file and no network: ``templates/report.html``, filled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np

from mdpr_fastreid.compare import table
from mdpr_fastreid.compare.differences import Differences
from mdpr_fastreid.compare.pictures import Album, read_image
from mdpr_fastreid.compare.plan import Plan, describe_method, describe_shared
from mdpr_fastreid.compare.provenance import machine_of
from mdpr_fastreid.compare.rank_lists import MOST_METHODS, Image, Listed, Ranking, choose_queries, load_rankings
from mdpr_fastreid.compare.summary import Summary
from mdpr_fastreid.compare.table import Cell
from mdpr_fastreid.io import write_whole
from mdpr_fastreid.pictures.inline import data_uri, encode
from mdpr_fastreid.pictures.overlay import overlay

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("mdpr_fastreid.compare"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class RankList:
    """What a method ranked for a query."""

    title: str
    average_precision: float
    hits: list[Listed]


@dataclass(frozen=True)
class Case:
    """A query worth looking at, with what each method ranked for it."""

    heading: str
    row: int
    query: Image
    lists: list[RankList]


def write_page(
    plan: Plan, summaries: Sequence[Summary], plots: Mapping[str, Path], differences: Differences | None = None
) -> Path:
    """Write ``report.html`` into the comparison's folder.

    Args:
        plan: what was asked for.
        summaries: what came of it.
        plots: SVG files by what they show, of :func:`mdpr_fastreid.compare.plots.write_plots`.
        differences: of mAP from the first method.
    """
    differences = differences or Differences()
    seed, rankings = load_rankings(summaries)
    cases = _cases(rankings, {one.method.name: one.method.title for one in summaries})
    attention = _attention(cases, rankings, summaries)
    sections = {"Results": True, "Pictures": plots, "Rank lists": cases, "Attention": attention}
    html = _TEMPLATES.get_template("report.html").render(
        title=title_of(plan),
        titles=[*(name for name, shown in sections.items() if shown), "Conditions", "Provenance"],
        setting=table.setting(plan),
        seeds=plan.seeds,
        verdict=table.verdict(plan, summaries),
        results=_results(plan, summaries, differences),
        plots={name: data_uri(path.read_bytes(), "image/svg+xml") for name, path in plots.items()},
        album=Album(),
        rank_lists=cases,
        captioned=any(hit.caption for case in cases for one in case.lists for hit in one.hits),
        seed=seed,
        most_methods=MOST_METHODS if len(summaries) > MOST_METHODS else None,
        attention=attention,
        conditions={
            "shared": [[Cell(name), Cell(value)] for name, value in describe_shared(plan).items()],
            "methods": [[Cell(one.title), Cell(describe_method(one))] for one in plan.methods],
        },
        data=plan.data,
        provenance={
            "machine": machine_of([result for one in summaries for result in one.results.values()]),
            "command": plan.command,
            "commands": table.command_rows(plan, summaries),
        },
    )
    path = plan.output / "report.html"
    write_whole(path, html.encode())
    return path


def title_of(plan: Plan) -> str:
    """The page's heading."""
    if plan.ablation:
        return f"MDPR on {plan.data.name}: what its parts are worth"
    if plan.grid:
        return f"{', '.join(plan.grid)} on {plan.data.name}"
    return f"{', '.join(method.title for method in plan.methods)} side by side on {plan.data.name}"


def _results(plan: Plan, summaries: Sequence[Summary], differences: Differences) -> dict[str, object]:
    return {
        "accuracy_headings": table.accuracy_headings(summaries),
        "accuracy": table.accuracy_rows(summaries),
        "pairing_headings": table.pairing_headings(summaries),
        "pairings": table.pairing_rows(summaries),
        "pairing_caption": table.PAIRING_CAPTION,
        "difference_headings": table.difference_headings(differences),
        "differences": table.difference_rows(differences),
        "difference_caption": table.difference_caption(differences) if differences.rows else "",
        "reranked_headings": table.accuracy_headings(summaries, reranked=True),
        "reranked": table.accuracy_rows(summaries, reranked=True),
        "caption": table.caption(plan, summaries),
        "cost_headings": table.COST_HEADINGS,
        "cost": table.cost_rows(summaries),
        "cost_caption": table.COST_CAPTION,
        "notes": [f"{one.method.title}: {note}" for one in summaries for note in plan.notes.get(one.method.name, ())],
        "missing": [*table.problems(plan, summaries), *differences.left_out],
    }


def _cases(rankings: Mapping[str, Ranking], titles: Mapping[str, str]) -> list[Case]:
    if not rankings:
        return []
    first = next(iter(rankings.values()))
    return [
        Case(
            heading=heading[:1].upper() + heading[1:],
            row=row,
            query=first.image(first.queries[row]),
            lists=[
                RankList(titles[name], float(one.average_precision[row]), one.listed(row))
                for name, one in rankings.items()
            ],
        )
        for heading, row in choose_queries({name: one.average_precision for name, one in rankings.items()}, titles)
    ]


def _attention(
    cases: Sequence[Case], rankings: Mapping[str, Ranking], summaries: Sequence[Summary]
) -> dict[str, object] | None:
    """Maps of the first method that has any: the other rows of an ablation look at the same images in the same way."""
    for summary in summaries:
        ranking = rankings.get(summary.method.name)
        if ranking is None or ranking.attention is None:
            continue
        queries = [int(ranking.queries[case.row]) for case in cases]
        figures = [_maps(ranking.image(index).path, ranking.attention[index]) for index in queries]
        shown = [figure for figure in figures if figure]
        return {"title": summary.method.title, "figures": shown} if shown else None
    return None


def _maps(path: Path, maps: np.ndarray) -> dict[str, object] | None:
    """An image and its attention maps ``[2 M, h, w]`` as pictures; None for an image that cannot be read any more."""
    pixels = read_image(path)
    if pixels is None:
        return None
    half = len(maps) // 2
    shown = [
        {
            "stage": 4 if position < half else 3,
            "number": position % half + 1,
            "picture": _inline(overlay(pixels, attention)),
            "lowest": attention.min() / 255,
            "highest": attention.max() / 255,
        }
        for position, attention in enumerate(maps)
    ]
    return {"query": _inline(pixels), "maps": shown}


def _inline(pixels: np.ndarray) -> str:
    return data_uri(encode(pixels), "image/jpeg")
