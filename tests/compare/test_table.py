"""The tables, from fixed numbers."""

import dataclasses
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support.comparisons import made_up_result

from mdpr_fastreid.compare import records
from mdpr_fastreid.compare.methods import Method, find_methods
from mdpr_fastreid.compare.plan import Cost
from mdpr_fastreid.compare.provenance import commit, machine_of, without_home
from mdpr_fastreid.compare.summary import ACCURACY, TRAINING_ACCURACY, Summary, summarize
from mdpr_fastreid.compare.table import (
    Cell,
    accuracy_headings,
    accuracy_rows,
    caption,
    command_of,
    cost_rows,
    escaped,
    markdown,
    pairing_headings,
    pairing_rows,
    table,
    verdict,
    with_deviation,
)


def summary(name, *maps):
    results = {
        seed: {
            "metrics": dict.fromkeys(ACCURACY, value),
            "reranked": dict.fromkeys(ACCURACY, value + 10),
            "training_images_per_second": 20.0 + seed,
            "inference_images_per_second": 100.0,
            "feature_length": 512,
        }
        for seed, value in enumerate(maps)
    }
    folders = {seed: Path("runs") / name / f"seed{seed}" for seed in range(len(maps))}
    return Summary(
        Method(name, name.upper(), "a.yml"), results, {}, {}, folders, Path("s.yml"), Cost(11_190_000, 2_340_000_000)
    )


def cells(row):
    """The cells of a row as Markdown."""
    return [cell.strip() for cell in table(("",) * len(row), [row]).splitlines()[-1].strip("|").split("|")]


def test_what_leads_by_more_than_a_deviation_is_bold():
    rows = accuracy_rows([summary("a", 50.0, 52.0), summary("b", 40.0, 41.0)])
    assert cells(rows[0]) == ["A", *["**51.0 ± 1.4**"] * 5]
    assert cells(rows[1]) == ["B", *["40.5 ± 0.7"] * 5]
    reranked = accuracy_rows([summary("a", 50.0, 52.0), summary("b", 40.0, 41.0)], reranked=True)
    assert cells(reranked[0])[1] == "**61.0 ± 1.4**"


def test_what_models_report_of_themselves_are_further_columns_and_never_bold():
    with_own, without = summary("a", 50.0, 52.0), summary("b", 40.0, 41.0)
    for seed, result in with_own.results.items():
        result["own_metrics"] = {"mIoU": 0.25 + seed / 100, "F1": 80.0 + seed}
    both = [with_own, without]
    assert accuracy_headings(both) == ["method", *ACCURACY, "mIoU", "F1"]
    first, second = accuracy_rows(both)
    assert cells(first)[-3:] == ["**51.0 ± 1.4**", "0.255 ± 0.007", "80.5 ± 0.7"]
    assert cells(second)[-3:] == ["40.5 ± 0.7", "", ""]
    assert accuracy_headings(both, reranked=True) == ["method", *ACCURACY]
    assert len(accuracy_rows(both, reranked=True)[0]) == 1 + len(ACCURACY)
    assert accuracy_headings([without]) == ["method", *ACCURACY]


def test_the_training_accuracy_stands_beside_and_is_never_bold():
    logged, without = summary("a", 50.0, 52.0), summary("b", 40.0, 41.0)
    for seed, result in logged.results.items():
        result |= {TRAINING_ACCURACY: 90.0 + seed, "own_metrics": {"mIoU": 0.5}}
    both = [logged, without]
    assert accuracy_headings(both) == ["method", *ACCURACY, "training accuracy", "mIoU"]
    first, second = accuracy_rows(both)
    assert cells(first)[-2:] == ["90.5 ± 0.7", "0.500 ± 0.000"] and cells(second)[-2:] == ["", ""]
    assert accuracy_headings(both, reranked=True) == ["method", *ACCURACY]


def test_pairings_are_a_table_of_their_own_that_others_have_not():
    paired, without = summary("a", 50.0, 52.0), summary("b", 40.0, 41.0)
    for one, lead in ((paired, 10), (without, 0)):
        for result in one.results.values():
            of_first = {"mAP": result["metrics"]["mAP"], "Rank-1": 60.0 + lead, "mINP": 5.0, "metric": 1.0}
            result["pairings"] = {"I2V": of_first} | ({"V2V": of_first} if lead else {})
    both = [paired, without]
    headings = ["method", *(f"{name} {number}" for name in ("I2V", "V2V") for number in ("mAP", "Rank-1", "mINP"))]
    assert pairing_headings(both) == headings
    first, second = pairing_rows(both)
    assert cells(first)[:4] == ["A", "**51.0 ± 1.4**", "**70.0 ± 0.0**", "5.0 ± 0.0"]
    assert cells(second) == ["B", "40.5 ± 0.7", "60.0 ± 0.0", "5.0 ± 0.0", "", "", ""]
    assert pairing_rows([summary("c", 1.0)]) == []


def test_a_method_that_is_not_finished_does_not_change_what_bold_means(plan_in):
    several = [summary("a", 50.0, 52.0), summary("b", 40.0, 41.0), summary("c")]
    assert cells(accuracy_rows(several)[0])[1] == "**51.0 ± 1.4**"
    assert "finished seeds of 2: A 2, B 2, C 0: mean ± sample standard deviation" in caption(plan_in, several)
    assert "one seed has no deviation" in caption(plan_in, [summary("a", 50.0), summary("c")])


def test_pairings_are_in_the_text_where_there_are_any(plan_in):
    for run in plan_in.runs:
        made_up_result(plan_in, run, pairings={"I|V": {"mAP": 40.0, "Rank-1": 1.0, "mINP": 2.0}})
    text = markdown(plan_in, summarize(plan_in))
    assert "## Pairings" in text and "I\\|V Rank-1" in text
    for run in plan_in.runs:
        made_up_result(plan_in, run)
    assert "## Pairings" not in markdown(plan_in, summarize(plan_in))


@pytest.mark.parametrize("other", [(49.7, 50.3), (40.0, 61.9)])
def test_what_leads_by_less_is_not(other):
    rows = accuracy_rows([summary("a", 50.0, 52.0), summary("b", *other)])
    assert not any("**" in cell for row in rows for cell in cells(row))


def test_one_seed_has_neither_deviation_nor_bold():
    assert cells(accuracy_rows([summary("a", 90.0), summary("b", 10.0)])[0]) == ["A", *["90.0"] * 5]


def test_the_costs_are_in_millions_and_billions():
    (row,) = cost_rows([summary("a", 50.0, 52.0)])
    assert cells(row) == ["A", "11.19", "2.34", "20 ± 1", "100 ± 0", "512"]


def test_a_table_is_markdown():
    lines = table(("a", "b"), [[Cell("1"), Cell("x|y")]]).splitlines()
    assert [line.split() for line in (lines[0], lines[2])] == [["|", "a", "|", "b", "|"], ["|", "1", "|", "x\\|y", "|"]]
    assert set(lines[1]) <= set("|- ") and lines[1].count("|") == 3
    assert with_deviation(None) == ""


def test_names_are_shown_as_they_are_and_are_no_markup():
    name = r"<script>a|b</script> *c* `d` C:\runs \<"
    assert escaped(name) == r"\<script>a\|b\</script> \*c\* \`d\` C:\runs \\\<"
    assert cells([Cell("no bars here")]) == ["no bars here"]
    assert escaped("![x](http://host/pixel.png) &lt;b> \x1b[2J") == r"![x\](http://host/pixel.png) \&lt;b> \x1b[2J"
    assert "| `` a`<b>`c `` |" in table(("command",), [[Cell("a`<b>`c", "code")]])
    assert r"| `a \| b <c>` |" in table(("command",), [[Cell("a | b <c>", "code")]])


def test_the_caption_names_seeds_and_what_bold_means(plan_in):
    both = [summary("a", 1.0, 2.0), summary("b", 1.0, 2.0)]
    assert "2 seeds: mean ± sample standard deviation" in caption(plan_in, both)
    assert "SynthReIDTiny, 64x32, 2 epochs in batches of 64" in caption(plan_in, both)
    assert "raining accuracy" not in caption(plan_in, both)
    both[0].results[0][TRAINING_ACCURACY] = 90.0
    assert "Training accuracy: share of the augmented training images" in caption(plan_in, both)
    partial = caption(plan_in, [summary("a", 1.0, 2.0), summary("b", 1.0)])
    assert "finished seeds of 2: A 2, B 1" in partial and "nothing is bold" in partial


VERDICTS = {
    "more than one standard deviation": [(50.0, 52.0), (40.0, 41.0)],
    "shows no winner": [(50.0, 52.0), (49.0, 52.0)],
    "can be noise": [(50.0,), (40.0,)],
    "nothing to compare": [(50.0,)],
}


@pytest.mark.parametrize("words", VERDICTS)
def test_the_verdict_claims_no_more_than_the_numbers_do(plan_in, words):
    summaries = [summary(name, *maps) for name, maps in zip("ab", VERDICTS[words], strict=False)]
    assert words in verdict(plan_in, summaries)


ABLATION = {
    "A reaches 51.0 ± 1.4 mAP. By more than one standard deviation, its own and A's, differ: C (-10.5), D (+9.0).": [
        *((50.0, 52.0), (50.0, 51.0), (40.0, 41.0), (60.0, 60.0)),
    ],
    "No row differs from it by more than one standard deviation.": [(50.0, 52.0), (50.0, 51.0)],
    "With one seed no row can be distinguished from noise.": [(50.0,), (40.0,)],
}


@pytest.mark.parametrize("words", ABLATION)
def test_the_verdict_of_an_ablation_is_what_differs_from_the_whole(plan_in, words):
    summaries = [summary(name, *maps) for name, maps in zip("abcd", ABLATION[words], strict=False)]
    plan = dataclasses.replace(plan_in, ablation=True, methods=tuple(one.method for one in summaries))
    assert verdict(plan, summaries).endswith(words)


def test_the_whole_text_names_commands_data_machine_and_what_is_missing(plan_in):
    made_up_result(plan_in, plan_in.runs[0])
    failed = plan_in.folder(plan_in.runs[1])
    failed.mkdir(parents=True)
    records.write_json(failed / records.FAILURE, {"error": "no memory", "log": "log.txt"})
    text = markdown(plan_in, summarize(plan_in))
    assert plan_in.command in text and plan_in.data.digest in text and "abc1234" in text
    assert f"train_net.py --config-file {plan_in.folder(plan_in.runs[0]) / records.SETTINGS}" in text
    assert "BoT, seed 0, failed: no memory" in text and "MDPR, seed 1: not finished yet" in text


def test_what_was_only_evaluated_is_repeated_by_evaluating():
    one = summary("feature-fusion", 50.0)
    reading = dataclasses.replace(one, method=dataclasses.replace(one.method, trained=False), settings=Path("my s.yml"))
    assert command_of(one) == "python train_net.py --config-file s.yml OUTPUT_DIR logs/feature-fusion-again"
    assert command_of(reading) == (
        "python train_net.py --config-file 'my s.yml' --eval-only OUTPUT_DIR logs/feature-fusion-again"
    )


def test_code_of_ones_own_is_imported_by_the_command(tmp_path):
    (tmp_path / "train_net.py").write_text("import sys\n\nprint('colorsys' in sys.modules, __name__, *sys.argv[1:])\n")
    one = summary("feature-fusion", 50.0)
    own = dataclasses.replace(one, method=dataclasses.replace(one.method, config="own.yml"))
    command = [sys.executable, *shlex.split(command_of(own, ["colorsys", "json"]))[1:]]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert printed.endswith("True __main__ --config-file s.yml OUTPUT_DIR logs/feature-fusion-again\n")
    built_in = dataclasses.replace(one, method=find_methods(["sbs"])[0])  # its sampler or data may be one's own
    assert command_of(built_in, ["colorsys"]).startswith("python -c 'import colorsys, runpy; ")


def test_the_home_folder_is_not_named(monkeypatch):
    monkeypatch.setenv("HOME", "/home/anna")
    assert without_home("mdpr compare --output /home/anna/logs '/home/anna/a b'") == (
        "mdpr compare --output ~/logs '/home/anna/a b'"
    ), "in quotes a shell would not find it"
    one = dataclasses.replace(summary("a", 50.0), settings=Path("/home/anna/runs/a/seed0/settings.yml"))
    assert "--config-file ~/runs/a/seed0/settings.yml OUTPUT_DIR" in command_of(one)


def test_runs_of_several_commits_and_days_show_all_of_them():
    results = [
        {"environment": {"gpu": None, "torch": "2", "load": day / 10, "commit": name, "date": f"2026-11-{day}T10:00"}}
        for name, day in (("a", 20), ("b", 22), ("a", 21))
    ]
    assert machine_of(results) == "torch 2, load 2.0 to 2.2, commit a / b, date 2026-11-20 to 2026-11-22"


@pytest.mark.parametrize(
    ("path", "changed"), [("package/new.py", True), ("configs/new.yml", True), ("notes.txt", False), ("old.py", True)]
)
def test_a_commit_does_not_stand_for_what_it_has_not(tmp_path, path, changed):
    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *words], check=True, capture_output=True)

    for name in ("package/old.py", "configs/old.yml", "old.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    assert "changes" not in commit(tmp_path / "package")
    (tmp_path / path).write_text("new")
    assert commit(tmp_path / "package").endswith(" and uncommitted changes") == changed


def test_outside_a_checkout_the_commit_is_unknown(tmp_path):
    assert commit(tmp_path / "package") == "unknown"
