"""The report as one page of HTML that needs no other file and no network."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from mdpr_fastreid.compare import table
from mdpr_fastreid.compare.page_style import STYLE
from mdpr_fastreid.compare.pictures import Album, data_uri, encode, overlay, read_image
from mdpr_fastreid.compare.plan import Plan, describe_method, describe_shared
from mdpr_fastreid.compare.provenance import machine_of
from mdpr_fastreid.compare.rank_lists import MOST_METHODS, Ranking, choose_queries, load_rankings
from mdpr_fastreid.compare.summary import Summary
from mdpr_fastreid.io import write_whole

_PLOTS = {
    "accuracy": "mAP of every seed (dots), with mean (diamonds) and sample standard deviation (bars).",
    "cmc": "Cumulative matching characteristic: mean over seeds, the band from the lowest to the highest seed.",
    "speed": "mAP against images a second, with standard deviations: up and to the right is better.",
    "training": "How training went, mean over seeds. Losses are sums of different terms, so compare their course only.",
}


def write_page(plan: Plan, summaries: Sequence[Summary], plots: Mapping[str, Path]) -> Path:
    """Write ``report.html`` into the comparison's folder.

    Args:
        plan: what was asked for.
        summaries: what came of it.
        plots: SVG files by what they show, of :func:`mdpr_fastreid.compare.plots.write_plots`.
    """
    album = Album()
    seed, rankings = load_rankings(summaries)
    cases = _cases(rankings, {one.method.name: one.method.title for one in summaries})
    sections = {
        "Results": _results(plan, summaries),
        "Pictures": _pictures(plots),
        "Rank lists": _rank_lists(cases, rankings, summaries, seed, album),
        "Attention": _attention(cases, rankings, summaries, seed),
        "Conditions": _conditions(plan),
        "Provenance": _provenance(plan, summaries),
    }
    sections = {title: html for title, html in sections.items() if html}
    links = "".join(f'<a href="#{_anchor(title)}">{title}</a>' for title in sections)
    body = "\n".join(f'<h2 id="{_anchor(title)}">{title}</h2>\n{html}' for title, html in sections.items())
    heading = escape(title_of(plan))
    path = plan.output / "report.html"
    write_whole(
        path,
        f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{heading}</title>
<style>{STYLE}{album.style()}</style>
</head>
<body><main>
<h1>{heading}</h1>
<p class="soft">{escape(table.setting(plan))}, seeds {", ".join(map(str, plan.seeds))}</p>
<p class="verdict">{escape(table.verdict(plan, summaries))}</p>
<nav>{links}</nav>
{body}
</main></body>
</html>
""".encode(),
    )
    return path


def title_of(plan: Plan) -> str:
    """The page's heading."""
    if plan.ablation:
        return f"MDPR on {plan.data.name}: what its parts are worth"
    return f"{', '.join(method.title for method in plan.methods)} side by side on {plan.data.name}"


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _results(plan: Plan, summaries: Sequence[Summary]) -> str:
    missing = "".join(f"<li>{escape(line)}</li>" for line in table.problems(plan, summaries))
    told = [f"{one.method.title}: {line}" for one in summaries for line in plan.notes.get(one.method.name, ())]
    notes = "".join(f"<li>{escape(line)}</li>" for line in told)
    return "".join(
        [
            _table(table.ACCURACY_HEADINGS, table.accuracy_rows(summaries)),
            f'<p class="caption">{escape(table.caption(plan, summaries))}</p>',
            "<h3>Re-ranked (k-reciprocal)</h3>",
            _table(table.ACCURACY_HEADINGS, table.accuracy_rows(summaries, reranked=True)),
            "<h3>Cost</h3>",
            _table(table.COST_HEADINGS, table.cost_rows(summaries)),
            f'<p class="caption">{escape(table.COST_CAPTION)}</p>',
            f"<h3>Notes</h3><ul>{notes}</ul>" if notes else "",
            f"<h3>Missing</h3><ul>{missing}</ul>" if missing else "",
        ]
    )


def _pictures(plots: Mapping[str, Path]) -> str:
    figures = {}
    for name, path in plots.items():
        image, told = data_uri(path.read_bytes(), "image/svg+xml"), escape(_PLOTS[name])
        figures[name] = (
            f'<figure class="{name}"><img src="{image}" alt="{told}"><figcaption>{told}</figcaption></figure>'
        )
    if not figures:
        return ""
    return f'<div class="half">{figures["accuracy"]}{figures["cmc"]}</div>{figures["speed"]}{figures["training"]}'


def _cases(rankings: Mapping[str, Ranking], titles: Mapping[str, str]) -> list[tuple[str, int]]:
    if not rankings:
        return []
    return choose_queries({name: one.average_precision for name, one in rankings.items()}, titles)


def _rank_lists(
    cases: Sequence[tuple[str, int]],
    rankings: Mapping[str, Ranking],
    summaries: Sequence[Summary],
    seed: int | None,
    album: Album,
) -> str:
    if not cases:
        return ""
    titles = {one.method.name: one.method.title for one in summaries}
    beyond = f" The first {MOST_METHODS} methods are shown." if len(summaries) > MOST_METHODS else ""
    parts = [
        f'<p>What each method (seed {seed}) ranks first for the same queries, nearest on the left. <span class="right">'
        '<i>✓</i></span> and a solid frame: the same person; <span class="wrong"><i>✗</i></span> and a dashed frame: '
        "another one. Under each image its distance to the query, on each method's own scale; images of the query's "
        f"person from the query's own camera do not count and are left out.{beyond}</p>"
    ]
    shown = None
    for heading, row in cases:
        if heading != shown:
            parts.append(f"<h3>{escape(heading[:1].upper() + heading[1:])}</h3>")
            shown = heading
        parts.append(_case(row, rankings, titles, album))
    return "".join(parts)


def _case(row: int, rankings: Mapping[str, Ranking], titles: Mapping[str, str], album: Album) -> str:
    first = next(iter(rankings.values()))
    query = first.image(first.queries[row])
    label = f"query: identity {query.identity}, camera {query.camera + 1}"
    lists = []
    for name, ranking in rankings.items():
        hits = []
        for listed in ranking.listed(row):
            image = listed.image
            told = f"identity {image.identity}, camera {image.camera + 1}, distance {listed.distance:.3f}"
            hits.append(
                f'<div class="hit {"right" if listed.correct else "wrong"}">{album.show(image.path, told)}'
                f"<i>{'✓' if listed.correct else '✗'}</i> {listed.distance:.2f}</div>"
            )
        lists.append(
            f'<div class="list"><div class="who"><b>{escape(titles[name])}</b>'
            f"AP {100 * ranking.average_precision[row]:.0f}</div>"
            f'<div class="strip">{"".join(hits)}</div></div>'
        )
    return (
        f'<div class="case"><div class="query">{album.show(query.path, label)}<div>query<br>identity {query.identity}'
        f'<br>camera {query.camera + 1}</div></div><div class="lists">{"".join(lists)}</div></div>'
    )


def _attention(
    cases: Sequence[tuple[str, int]], rankings: Mapping[str, Ranking], summaries: Sequence[Summary], seed: int | None
) -> str:
    figures = []
    title = ""
    for summary in summaries:
        ranking = rankings.get(summary.method.name)
        if ranking is None or ranking.attention is None:
            continue
        title = summary.method.title
        for _, row in cases:
            index = int(ranking.queries[row])
            figures.append(_attention_of(ranking.image(index).path, ranking.attention[index]))
        break  # the other rows of an ablation look at the same images in the same way
    if not figures:
        return ""
    return (
        f"<p>Where the soft content branch of {escape(title)} (seed {seed}) looks, for the queries above: the maps "
        "of stage 4, then those of stage 3, which stage 4 guides. Each map is stretched from its lowest value "
        "(dark) to its highest (bright); both are written below it. 4.1 is the first map of stage 4.</p>"
        f'<div class="maps">{"".join(figures)}</div>'
    )


def _attention_of(path: Path, maps: np.ndarray) -> str:
    pixels = read_image(path)
    if pixels is None:
        return ""
    half = len(maps) // 2
    cells = [f"<div>{_inline(pixels, 'query')}image</div>"]
    for number, attention in enumerate(maps):
        stage, which = (4, number + 1) if number < half else (3, number - half + 1)
        told = f"stage {stage}, map {which}"
        spread = f"{attention.min() / 255:.2f} – {attention.max() / 255:.2f}"
        cells.append(f"<div>{_inline(overlay(pixels, attention), told)}{stage}.{which}<br>{spread}</div>")
    return f"<figure>{''.join(cells)}</figure>"


def _inline(pixels: np.ndarray, label: str) -> str:
    return f'<img src="{data_uri(encode(pixels), "image/jpeg")}" alt="{label}" title="{label}">'


def _conditions(plan: Plan) -> str:
    rows = [[name, value] for name, value in describe_shared(plan).items()]
    methods = [[one.title, describe_method(one)] for one in plan.methods]
    return (
        "<p>Shared by all runs; methods differ in their model and losses only.</p>"
        + _table((), rows, "words")
        + "<h3>Methods</h3>"
        + _table((), methods, "words")
    )


def _provenance(plan: Plan, summaries: Sequence[Summary]) -> str:
    results = [result for summary in summaries for result in summary.results.values()]
    commands = [[one.method.title, f"`{table.command_of(one)}`"] for one in summaries]
    return (
        f"<p>{escape(machine_of(results))}.</p>"
        f"<p>Data {escape(plan.data.name)}, hash {plan.data.digest} (SHA-256 over split, relative path, identity, "
        "camera and size in bytes of every image).</p>"
        f"<p>All of it: <code>{escape(plan.command)}</code></p>"
        "<h3>Each method by hand, first seed</h3>" + _table((), commands, "words")
    )


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "numbers") -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in headings)
    body = "".join("<tr>" + "".join(f"<td>{_marked(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table class="{kind}">{f"<tr>{head}</tr>" if head else ""}{body}</table></div>'


def _marked(cell: str) -> str:
    """A Markdown cell as HTML: ``**bold**`` and `` `code` `` are all that the tables use."""
    cell = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", escape(cell))
    return re.sub(r"`(.+?)`", r"<code>\1</code>", cell)
