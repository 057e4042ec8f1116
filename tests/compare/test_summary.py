"""What the numbers of several seeds amount to."""

import csv
import json
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.comparisons import made_up_result

from mdpr_fastreid.compare.summary import (
    ACCURACY,
    TRAINING_ACCURACY,
    Spread,
    accuracy_names,
    clear_best,
    own_metrics,
    pairing_names,
    spread,
    summarize,
    write_results,
)

SEEDS = st.lists(st.floats(0, 100), min_size=1, max_size=5)


@given(SEEDS)
def test_a_spread_is_mean_and_sample_deviation(values):
    got = spread(values)
    assert got.mean == pytest.approx(sum(values) / len(values))
    if len(values) == 1:
        assert got.deviation is None
    else:
        squares = sum((value - got.mean) ** 2 for value in values)
        assert got.deviation == pytest.approx((squares / (len(values) - 1)) ** 0.5, abs=1e-6)


def test_nothing_has_no_spread():
    assert spread([]) is None


@given(st.dictionaries(st.sampled_from("abcde"), st.lists(st.floats(0, 100), min_size=2, max_size=4), min_size=2))
def test_only_what_leads_every_other_by_more_than_a_deviation_is_best(values):
    best = clear_best({name: spread(seeds) for name, seeds in values.items()})
    margin = 1e-6
    for name, seeds in values.items():
        others = [other for key, other in values.items() if key != name]
        gaps = [
            statistics.fmean(seeds) - statistics.fmean(other) - max(statistics.stdev(seeds), statistics.stdev(other))
            for other in others
        ]
        if min(gaps) > margin:
            assert best == name
        if min(gaps) < -margin:
            assert best != name


@given(st.dictionaries(st.sampled_from("abc"), st.floats(0, 100), min_size=1))
def test_with_one_seed_nothing_is_best(values):
    assert clear_best({name: Spread(value, None, 1) for name, value in values.items()}) is None


@given(SEEDS, SEEDS)
def test_a_method_without_a_deviation_keeps_all_others_from_being_best(several, more):
    spreads = {"one": spread(several[:1]), "many": spread([*more, 200.0, 200.0])}
    assert clear_best(spreads) is None


def test_what_is_not_there_neither_wins_nor_counts():
    high, low = spread([50.0, 51.0]), spread([10.0, 11.0])
    assert clear_best({"a": high, "b": None}) is None
    assert clear_best({"a": high, "b": None, "c": low}) == "a"


@pytest.fixture
def partial(plan_in):
    """Three of four runs."""
    for run, value in zip(plan_in.runs, (41.0, 30.0, 43.0), strict=False):
        made_up_result(plan_in, run, mAP=value)
    return plan_in


def test_a_summary_has_what_is_there(partial):
    mdpr, bot = summarize(partial)
    assert mdpr.spread("mAP") == Spread(42.0, pytest.approx(2**0.5), 2)
    assert mdpr.spread("mAP", reranked=True).mean == 47.0
    assert (bot.spread("mAP").deviation, list(bot.results)) == (None, [0])
    assert mdpr.cost.parameters > bot.cost.parameters > 11e6
    assert mdpr.cost.multiply_adds > bot.cost.multiply_adds > 1e7


def test_what_a_model_reports_of_itself_is_in_the_files_and_empty_for_others(plan_in):
    for run, value in zip(plan_in.runs, (0.5, None, 0.75, None), strict=True):
        made_up_result(plan_in, run, None if value is None else {"mIoU": value, "F1": 80.0})
    summaries = summarize(plan_in)
    assert own_metrics(summaries) == ["mIoU", "F1"]
    assert summaries[0].spread("mIoU").mean == 0.625 and summaries[1].spread("mIoU") is None
    write_results(plan_in, summaries, {})
    mdpr, bot = json.loads((plan_in.output / "results.json").read_text())["methods"]
    assert (mdpr["mean"]["mIoU"], mdpr["standard_deviation"]["F1"]) == (0.625, 0.0)
    assert mdpr["runs"][0]["own_metrics"] == {"mIoU": 0.5, "F1": 80.0} and "mIoU" not in bot["mean"]
    rows = list(csv.DictReader((plan_in.output / "results.csv").open()))
    assert [(row["method"], row["mIoU"], row["F1"], row["error"]) for row in rows] == [
        ("mdpr", "0.5", "80.0", ""), ("mdpr", "0.75", "80.0", ""), ("bot", "", "", ""), ("bot", "", "", ""),
    ]  # fmt: skip


def test_training_accuracy_is_that_of_the_last_tenth_and_is_in_the_files(plan_in):
    for run in plan_in.runs:
        folder = made_up_result(plan_in, run)
        if run.method.name == "mdpr":
            shares = [(0, 0.0), (89, 0.1), (90, 0.5), (95, 0.6), (100, 0.7 + 0.1 * run.seed)]
            lines = [json.dumps({"iteration": iteration, "cls_accuracy": share}) for iteration, share in shares]
            (folder / "metrics.json").write_text("\n".join(lines))
    summaries = summarize(plan_in)
    mdpr, bot = summaries
    assert mdpr.value(0, TRAINING_ACCURACY) == pytest.approx(60.0)
    assert mdpr.spread(TRAINING_ACCURACY).mean == pytest.approx((60.0 + 190 / 3) / 2)
    assert bot.spread(TRAINING_ACCURACY) is None
    write_results(plan_in, summaries, {})
    mean = [one["mean"] for one in json.loads((plan_in.output / "results.json").read_text())["methods"]]
    assert mean[0][TRAINING_ACCURACY] == pytest.approx(61.6667) and TRAINING_ACCURACY not in mean[1]
    rows = list(csv.DictReader((plan_in.output / "results.csv").open()))
    assert [row[TRAINING_ACCURACY] for row in rows] == ["60.0", "63.3333", "", ""]


def test_every_pairing_is_in_the_files_and_empty_for_models_without(plan_in):
    numbers = {"Rank-1": 10.0, "Rank-5": 50.0, "mAP": 20.0, "mINP": 5.0, "metric": 15.0}
    for run, more in zip(plan_in.runs, (0.0, None, 2.0, None), strict=True):
        pairings = {"I2V": numbers, "V2V": {name: value + (more or 0) for name, value in numbers.items()}}
        made_up_result(plan_in, run, pairings=None if more is None else pairings)
    summaries = summarize(plan_in)
    names = [f"{pairing}/{name}" for pairing in ("I2V", "V2V") for name in ("mAP", "Rank-1", "mINP")]
    assert pairing_names(summaries) == names and own_metrics(summaries) == []
    assert summaries[0].spread("V2V/mAP") == Spread(21.0, pytest.approx(2**0.5), 2)
    assert summaries[1].spread("V2V/mAP") is None
    write_results(plan_in, summaries, {})
    content = json.loads((plan_in.output / "results.json").read_text())
    mdpr, bot = content["methods"]
    assert (mdpr["mean"]["I2V/mAP"], mdpr["mean"]["V2V/Rank-1"]) == (20.0, 11.0)
    assert mdpr["runs"][1]["pairings"]["V2V"]["mINP"] == 7.0 and "I2V/mAP" not in bot["mean"]
    assert content["differences"] == {}
    rows = list(csv.DictReader((plan_in.output / "results.csv").open()))
    assert [row["V2V/mAP"] for row in rows] == ["20.0", "22.0", "", ""]
    assert [name for name in rows[0] if "/" in name] == names and all(row["error"] == "" for row in rows)


def test_the_trapezoids_map_stands_beside_the_other_where_runs_have_it(plan_in):
    for run in plan_in.runs[:2]:
        numbers = {"mAP trapezoid": 35.0} if run.method.name == "mdpr" else {}
        made_up_result(plan_in, run, pairings={"I2V": {"mAP": 40.0, **numbers}}, **numbers)
    summaries = summarize(plan_in)
    assert accuracy_names(summaries) == ("mAP", "mAP trapezoid", *ACCURACY[1:])
    assert accuracy_names(summaries[1:]) == ACCURACY
    assert pairing_names(summaries) == ["I2V/mAP", "I2V/mAP trapezoid"]
    write_results(plan_in, summaries, {})
    rows = list(csv.DictReader((plan_in.output / "results.csv").open()))
    assert [row["mAP trapezoid"] for row in rows] == ["35.0", "", "", ""]
    assert [row["reranked mAP trapezoid"] for row in rows] == ["40.0", "", "", ""]


def test_the_files_hold_every_run_and_their_means(partial):
    write_results(partial, summarize(partial), {"torch": "2"})
    content = json.loads((partial.output / "results.json").read_text())
    mdpr, bot = content["methods"]
    assert (mdpr["mean"]["mAP"], mdpr["standard_deviation"]["reranked mAP"]) == (42.0, 1.4142)
    assert [run["seed"] for run in mdpr["runs"]] == [0, 1] and bot["standard_deviation"]["mAP"] is None
    assert content["data"]["digest"] == partial.data.digest
    assert content["shared"]["SOLVER.IMS_PER_BATCH"] == 64 and not any("MODEL" in key for key in content["shared"])
    rows = list(csv.DictReader((partial.output / "results.csv").open()))
    assert [(row["method"], row["seed"], row["mAP"]) for row in rows] == [
        ("mdpr", "0", "41.0"), ("mdpr", "1", "43.0"), ("bot", "0", "30.0"), ("bot", "1", ""),
    ]  # fmt: skip
    assert rows[-1]["error"] == "not finished yet" and rows[0]["error"] == ""
    assert all(row[name] for row in rows[:3] for name in ACCURACY)
