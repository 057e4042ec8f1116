"""Differences from the first method, from rankings in the folders of runs: which are compared, and which are clear."""

import dataclasses
import json
import random

import numpy as np
import pytest
from support.comparisons import made_up_result

from mdpr_fastreid.compare import records
from mdpr_fastreid.compare.bootstrap import Interval, bootstrap_difference
from mdpr_fastreid.compare.differences import Difference, Differences, find_differences
from mdpr_fastreid.compare.page import write_page
from mdpr_fastreid.compare.plots import write_plots
from mdpr_fastreid.compare.report import write_all
from mdpr_fastreid.compare.summary import summarize
from mdpr_fastreid.compare.table import difference_caption, difference_headings, difference_rows, markdown

QUERIES, IDENTITIES = np.arange(2, 62), np.arange(60) // 5 + 100
RNG = np.random.default_rng(0)
BASE = RNG.uniform(0.3, 0.6, 60)
BETTER, NOISE = BASE + RNG.uniform(0.05, 0.15, 60), BASE + RNG.normal(0, 0.2, 60)


def ranking(folder, precision, pairings=None, queries=QUERIES, identities=IDENTITIES):
    """A run's rankings: the precision of its first pairing, as of earlier versions, and those of named ones."""
    named = {}
    if pairings is not None:
        named = {"pairings": np.array(list(pairings)), "pairing_precision": np.stack(list(pairings.values()))}
    nothing = np.full((len(queries), 1), -1)
    records.write_arrays(
        folder / records.RANKING,
        query=queries,
        **{"gallery": nothing, "distance": nothing, "correct": nothing > 0},
        **{"paths": np.full(80, "gone.jpg"), "cameras": np.zeros(80, int)},
        average_precision=precision,
        used=np.arange(80),
        identities=np.concatenate([[1, 1], identities, np.full(80 - 2 - len(identities), 7)]),
        **named,
    )


def ran(plan, mdpr, bot, **options):
    """The summaries of a plan whose runs rank with these precisions, a pair of seeds each."""
    for run, precision in zip(plan.runs, (mdpr[0], bot[0], mdpr[1], bot[1]), strict=True):
        if precision is not None:
            folder = made_up_result(plan, run)
            if isinstance(precision, dict):
                ranking(folder, next(iter(precision.values())), precision, **options)
            else:
                ranking(folder, precision, **options)
    return summarize(plan)


def test_the_difference_is_that_of_every_query_by_seed_and_of_the_mean_over_seeds(plan_in):
    found = find_differences(ran(plan_in, (BASE, NOISE), (BETTER, NOISE + 0.1)))
    (row,) = found.rows
    assert (found.reference, row.name, row.title, row.pairing) == ("MDPR", "bot", "BoT", "")
    assert (row.identities, row.queries, found.left_out) == (12, 60, ())
    assert row.seeds[0] == bootstrap_difference(BETTER - BASE, IDENTITIES)
    assert row.seeds[1].mean == pytest.approx(10) and row.seeds[1].low == pytest.approx(row.seeds[1].high)
    pooled = bootstrap_difference(((BETTER - BASE) + 0.1) / 2, IDENTITIES)
    assert tuple(row.pooled) == pytest.approx(tuple(pooled))
    assert row.clear


def test_the_same_rankings_have_no_difference(plan_in):
    (row,) = find_differences(ran(plan_in, (BASE, NOISE), (BASE, NOISE))).rows
    assert row.pooled == (0, 0, 0) and not row.clear


def test_of_a_seed_that_only_one_has_nothing_is_said(plan_in):
    (row,) = find_differences(ran(plan_in, (BASE, BASE), (BETTER, None))).rows
    assert list(row.seeds) == [0] and row.pooled == row.seeds[0]
    assert row.pooled.low > 0 and not row.clear, "one seed shows nothing of the noise of training"
    assert find_differences(ran(plan_in, (None, BASE), (BETTER, None))[:1]).rows == ()


@pytest.mark.parametrize(
    ("seeds", "pooled", "clear"),
    [
        ((1.0, 2.0), (1.5, 0.1, 3.0), True),
        ((-1.0, -2.0), (-1.5, -3.0, -0.1), True),
        ((-1.0, 4.0), (1.5, 0.1, 3.0), False),
        ((0.0, 4.0), (2.0, 0.1, 3.0), False),
        ((1.0, 2.0), (1.5, -0.1, 3.0), False),
        ((1.0, 2.0), (1.5, 0.0, 3.0), False),
        ((1.0,), (1.0, 0.1, 3.0), False),
        ((0.0, 0.0), (0.0, 0.0, 0.0), False),
    ],
)
def test_clear_is_what_all_seeds_agree_on_and_the_interval_excludes(seeds, pooled, clear):
    of_seeds = {seed: Interval(mean, mean - 1, mean + 1) for seed, mean in enumerate(seeds)}
    assert Difference("b", "B", "", Interval(*pooled), of_seeds, 3, 9).clear is clear


def test_every_pairing_that_both_have_is_a_row_of_its_own(plan_in):
    of_first = {"I2V": BASE, "V2V": NOISE, "I2I": BASE}
    found = find_differences(ran(plan_in, (of_first, of_first), ({"V2V": BASE, "I2V": BETTER},) * 2))
    assert [row.pairing for row in found.rows] == ["V2V", "I2V"] and found.has_pairings
    assert found.rows[0].seeds[0] == bootstrap_difference(BASE - NOISE, IDENTITIES)
    assert found.rows[1].seeds[1] == bootstrap_difference(BETTER - BASE, IDENTITIES)


def test_a_model_without_pairings_is_compared_with_the_first_one_of_another(plan_in):
    found = find_differences(ran(plan_in, (BASE, BASE), ({"I2V": BETTER, "V2V": NOISE},) * 2))
    (row,) = found.rows
    assert (row.pairing, list(row.seeds)) == ("I2V", [0, 1])
    assert row.seeds[0] == bootstrap_difference(BETTER - BASE, IDENTITIES)


def test_models_without_a_pairing_in_common_have_no_row_and_that_is_said(plan_in):
    found = find_differences(ran(plan_in, ({"I2V": BASE},) * 2, ({"V2V": BETTER},) * 2))
    assert found.rows == ()
    assert found.left_out == ("BoT has no pairing in common with MDPR, so it is in no difference",)


def test_a_run_of_an_earlier_version_has_its_first_pairing(plan_in):
    both = {"I2V": BETTER, "V2V": NOISE}
    found = find_differences(ran(plan_in, (BASE, {"I2V": BASE, "V2V": BASE}), (BETTER, both)))
    seeds = {row.pairing: list(row.seeds) for row in found.rows}
    assert seeds == {"I2V": [0, 1], "V2V": [1]}
    assert found.rows[0].seeds[0] == bootstrap_difference(BETTER - BASE, IDENTITIES)


@pytest.mark.parametrize("how", ["gone", "no archive", "cut", "lacks identities", "other length", "another image"])
def test_a_ranking_that_cannot_be_read_is_one_line_with_the_way_out(plan_in, how):
    summaries = ran(plan_in, (BASE, BASE), (BETTER, BETTER))
    folder = plan_in.folder(plan_in.runs[1])
    path = folder / records.RANKING
    if how == "gone":
        path.unlink()
    elif how == "no archive":
        path.write_bytes(b"none")
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    elif how == "lacks identities":
        records.write_arrays(path, query=QUERIES, average_precision=BASE)
    elif how == "other length":
        ranking(folder, BASE[:-1])
    else:
        ranking(folder, BASE, queries=QUERIES + 80)
    found = find_differences(summaries)
    (line,) = found.left_out
    assert line.startswith("BoT, seed 0: ranking.npz is gone or damaged, so it is in no difference; delete ")
    assert line.endswith("result.json, and the same command measures this run anew") and "\n" not in line
    assert list(found.rows[0].seeds) == [1]
    assert line in markdown(plan_in, summaries, found)


def test_whatever_is_damaged_in_a_ranking_is_no_traceback(plan_in):
    ran(plan_in, (BASE, BASE), (BETTER, BETTER))
    folder = plan_in.folder(plan_in.runs[1])
    whole = (folder / records.RANKING).read_bytes()
    draw = random.Random(0)
    outcomes = set()
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            damaged[draw.randrange(len(whole))] = draw.randrange(256)
        (folder / records.RANKING).write_bytes(damaged)
        outcomes.add(records.read_ranking(folder) is None)
    assert outcomes == {True, False}


def test_a_run_for_other_queries_is_left_out_and_said(plan_in):
    summaries = ran(plan_in, (BASE, BASE), (BETTER, BETTER))
    ranking(plan_in.folder(plan_in.runs[3]), BETTER, identities=IDENTITIES + 1)
    found = find_differences(summaries)
    assert found.left_out == ("BoT, seed 1: it ranked for other queries, so it is in no difference",)
    assert list(found.rows[0].seeds) == [0]
    ranking(plan_in.folder(plan_in.runs[1]), BETTER[:9], queries=QUERIES[:9])
    assert find_differences(summaries).rows == ()


def test_one_method_alone_is_compared_with_none(plan_in):
    assert find_differences(ran(plan_in, (BASE, BASE), (BASE, BASE))[:1]) == Differences()
    assert find_differences([]) == Differences()


def test_the_table_has_points_intervals_and_what_is_clear():
    seeds = {0: Interval(1.04, 0.5, 1.5), 2: Interval(2.0, -0.25, 4.0)}
    rows = (
        Difference("b", "B", "I2V", Interval(1.5, 0.2, 2.8), seeds, 12, 1234),
        Difference("c", "C|", "", Interval(-0.5, -1.0, 0.0), {2: Interval(-0.5, -1.0, 0.0)}, 12, 1234),
    )
    differences = Differences("A", rows)
    assert difference_headings(differences) == ["method", "pairing", "all seeds", "clear", "seed 0", "seed 2"]
    first, second = difference_rows(differences)
    texts = ["B", "I2V", "+1.5 [+0.2, +2.8]", "yes", "+1.0 [+0.5, +1.5]", "+2.0 [-0.2, +4.0]"]
    assert [cell.text for cell in first] == texts
    assert [cell.style for cell in first] == ["", "", "strong", "", "", ""]
    assert [cell.text for cell in second] == ["C|", "", "-0.5 [-1.0, +0.0]", "no", "", "-0.5 [-1.0, +0.0]"]
    assert second[2].style == ""
    caption = difference_caption(differences)
    assert "above A" in caption and "12 test identities" in caption and "(1,234 in all)" in caption
    assert "2,000 draws" in caption and "95 % interval" in caption
    without = dataclasses.replace(differences, rows=(dataclasses.replace(rows[0], pairing=""),))
    assert difference_headings(without)[1] == "all seeds"


def test_they_are_in_every_file_of_the_report(plan_in):
    summaries = ran(plan_in, ({"I2V": BASE, "V2V": BASE},) * 2, ({"I2V": BETTER, "V2V": NOISE},) * 2)
    differences = find_differences(summaries)
    plots = write_plots(summaries, plan_in.output / "plots", differences)
    write_page(plan_in, summaries, plots, differences)
    html = (plan_in.output / "report.html").read_text()
    assert ">Differences in mAP</h3>" in html and 'figure class="differences"' in html
    assert difference_caption(differences) in html.replace("&#39;", "'")
    outcome = write_all(plan_in)
    assert "## Differences in mAP" in outcome.text and plan_in.output / "plots/differences.svg" in outcome.files
    content = json.loads((plan_in.output / "results.json").read_text())["differences"]
    assert (content["reference"], content["draws"], content["level"]) == ("MDPR", 2000, 95)
    (first, second) = content["rows"]
    assert (first["method"], first["pairing"], first["clear"], first["queries"]) == ("bot", "I2V", True, 60)
    assert first["mean"] == round(differences.rows[0].pooled.mean, 4) and list(first["seeds"]) == ["0", "1"]
    assert second["low"] < 0 < second["high"] and second["clear"] is False


def test_without_rankings_there_is_no_figure_of_them(plan_in):
    for run in plan_in.runs:
        made_up_result(plan_in, run)
    outcome = write_all(plan_in)
    assert not (plan_in.output / "plots/differences.svg").exists() and "## Differences" not in outcome.text
    assert outcome.text.count("so it is in no difference") == 4
