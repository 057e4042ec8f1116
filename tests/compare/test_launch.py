"""Runs survive: one by one, failures apart, nothing twice, nothing mixed up. The runs here are scripts of a line."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from unittest import mock

import pytest
from support.comparisons import made_up_result

from mdpr_fastreid.cli import main
from mdpr_fastreid.compare import launch, records
from mdpr_fastreid.compare.launchers import local
from mdpr_fastreid.compare.launchers.local import Local
from mdpr_fastreid.compare.summary import summarize
from mdpr_fastreid.compare.table import markdown, problems
from mdpr_fastreid.errors import UsageError


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch):
    monkeypatch.setattr(local, "_POLL_SECONDS", 0.01)


FINISH = """
import json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
numbers = dict.fromkeys(("mAP", "Rank-1", "Rank-5", "Rank-10", "mINP"), 50.0)
result = {"metrics": numbers, "reranked": numbers, "config_hash": "", "feature_length": 1, "cmc": [50.0],
          "training_images_per_second": 1.0, "inference_images_per_second": 1.0, "environment": {}}
with (folder.parents[2] / "order").open("a") as file:
    print(folder.parent.name, folder.name, file=file)
(folder / "result.json").write_text(json.dumps(result))
"""
FAIL = "print('loading'); raise SystemExit('CUDA is out of memory')"


def scripts(**by_method):
    """A command that runs the script of a run's method, ``FINISH`` by default."""

    def command(folder):
        return [sys.executable, "-c", by_method.get(folder.parent.name, FINISH), str(folder)]

    return command


def run_all(plan, command, jobs=1):
    left, notices = launch.prepare(plan)
    launch.launch(plan, left, Local(plan, jobs, command))
    return left, notices


def test_a_run_that_fails_does_not_stop_the_others_and_is_in_the_table_with_its_error(plan_in, capsys):
    run_all(plan_in, scripts(mdpr=FAIL))
    summaries = {one.method.name: one for one in summarize(plan_in)}
    assert sorted(summaries["bot"].results) == [0, 1]
    assert summaries["mdpr"].failures == {0: "CUDA is out of memory", 1: "CUDA is out of memory"}
    assert "MDPR, seed 1, failed: CUDA is out of memory" in markdown(plan_in, list(summaries.values()))
    assert "mdpr/seed0: failed: CUDA is out of memory" in capsys.readouterr().err


def test_a_run_that_is_killed_says_by_what(plan_in):
    run_all(plan_in, scripts(bot="import os, signal; os.kill(os.getpid(), signal.SIGKILL)"))
    assert summarize(plan_in)[1].failures[0] == "ended by SIGKILL (out of memory?)"


def test_finished_runs_are_not_repeated_and_failed_ones_are(plan_in):
    run_all(plan_in, scripts(mdpr=FAIL))
    left, notices = run_all(plan_in, scripts())
    assert [run.name for run in left] == ["mdpr/seed0", "mdpr/seed1"]
    assert not notices
    assert not any(one.failures for one in summarize(plan_in))
    order = (plan_in.output / "order").read_text().split("\n")
    assert order[:4] == ["bot seed0", "bot seed1", "mdpr seed0", "mdpr seed1"]
    assert launch.prepare(plan_in) == ([], [])


def with_setting(plan, key, value):
    runs = []
    for run in plan.runs:
        cfg = run.cfg.clone()
        cfg.merge_from_list([key, value])
        runs.append(dataclasses.replace(run, cfg=cfg))
    return dataclasses.replace(plan, runs=tuple(runs))


def test_a_changed_config_is_said_and_the_earlier_run_is_kept(plan_in):
    for run in plan_in.runs:
        made_up_result(plan_in, run)
    changed = with_setting(plan_in, "SOLVER.BASE_LR", 0.5)
    assert not any(one.results for one in summarize(changed)), "results of another config were reported"
    left, notices = launch.prepare(changed)
    assert len(left) == len(plan_in.runs)
    assert "mdpr/seed0 was run under other conditions (SOLVER.BASE_LR 0.00035 -> 0.5)" in notices[0]
    kept = plan_in.output / "runs" / "mdpr" / "seed0.earlier-1"
    assert (kept / records.RESULT).is_file() and str(kept) in notices[0]


@pytest.mark.parametrize("content", ['{"metrics": {"mA', "{}", "[]", "\x00"])
def test_a_damaged_result_is_not_reported_and_the_run_is_evaluated_anew(plan_in, content):
    folders = [made_up_result(plan_in, run) for run in plan_in.runs]
    (folders[1] / records.RESULT).write_text(content)
    assert not summarize(plan_in)[1].results.get(0)
    left, notices = launch.prepare(plan_in)
    assert left == [plan_in.runs[1]]
    assert notices == [f"{folders[1] / records.RESULT} is damaged: bot/seed0 is evaluated anew"]
    assert launch.prepare(plan_in) == (left, []), "it is said once"


@pytest.mark.parametrize("evidence", [records.RESULT, records.CHECKPOINT])
def test_a_run_whose_conditions_are_lost_is_set_aside_and_not_mixed_up(plan_in, evidence):
    folder = made_up_result(plan_in, plan_in.runs[0])
    (folder / records.CONDITIONS).write_text("{")
    (folder / records.RESULT).rename(folder / evidence)
    assert not summarize(plan_in)[0].results
    _, notices = launch.prepare(plan_in)
    assert "(conditions.json is missing or damaged): it is kept as" in notices[0]


def test_weights_that_are_moved_are_the_same_and_others_in_their_place_are_not(plan_in, tmp_path):
    weights, moved = tmp_path / "weights.pth", tmp_path / "moved.pth"
    weights.write_bytes(b"one")
    plan = with_setting(plan_in, "MODEL.BACKBONE.PRETRAIN_PATH", str(weights))
    made_up_result(plan, plan.runs[0])
    moved.write_bytes(b"one")
    left, notices = launch.prepare(with_setting(plan_in, "MODEL.BACKBONE.PRETRAIN_PATH", str(moved)))
    assert (len(left), notices) == (len(plan.runs) - 1, [])
    moved.write_bytes(b"two")
    left, notices = launch.prepare(with_setting(plan_in, "MODEL.BACKBONE.PRETRAIN_PATH", str(moved)))
    assert len(left) == len(plan.runs)
    assert f"MODEL.BACKBONE.PRETRAIN_PATH {moved} -> {moved}, a file of other content): it is kept as" in notices[0]


def test_what_only_evaluates_is_evaluated_anew_with_new_weights(plan_in):
    training = [run for run in plan_in.runs if run.method.name == "mdpr"]
    reading = [dataclasses.replace(run, source="mdpr") for run in plan_in.runs if run.method.name == "bot"]
    plan = dataclasses.replace(plan_in, runs=(*training, *reading))
    for run in plan.runs:
        made_up_result(plan, run)
    assert launch.prepare(plan)[0] == []
    shutil.rmtree(plan.folder(training[1]))
    assert launch.prepare(plan)[0] == [training[1], reading[1]]


def test_changed_data_is_a_changed_run(plan_in):
    made_up_result(plan_in, plan_in.runs[0])
    other = dataclasses.replace(plan_in, data=dataclasses.replace(plan_in.data, digest="0" * 16))
    _, notices = launch.prepare(other)
    assert len(notices) == 1 and "data " in notices[0]


def test_a_changed_evaluation_keeps_the_weights(plan_in):
    folder = made_up_result(plan_in, plan_in.runs[0])
    (folder / "model_final.pth").write_text("weights")
    changed = with_setting(plan_in, "TEST.RERANK.K1", 7)
    left, notices = launch.prepare(changed)
    assert "weights are evaluated anew" in notices[0]
    assert plan_in.runs[0].name in [run.name for run in left]
    assert (folder / "model_final.pth").read_text() == "weights"


def test_what_does_not_change_a_result_makes_no_new_run(plan_in):
    made_up_result(plan_in, plan_in.runs[0])
    for key, value in (("DATALOADER.NUM_WORKERS", 5), ("TEST.EVAL_PERIOD", 9), ("SOLVER.CHECKPOINT_PERIOD", 9)):
        left, notices = launch.prepare(with_setting(plan_in, key, value))
        assert (len(left), notices) == (len(plan_in.runs) - 1, [])


def test_a_key_that_the_plugin_got_since_counts_only_if_it_is_set(plan_in):
    folder = made_up_result(plan_in, plan_in.runs[0])
    before = json.loads((folder / records.CONDITIONS).read_text())
    del before["TEST.FLIP.ENABLED"]
    (folder / records.CONDITIONS).write_text(json.dumps(before))
    assert launch.prepare(plan_in)[1] == []
    (folder / records.CONDITIONS).write_text(json.dumps(before))
    assert "TEST.FLIP.ENABLED False -> True" in launch.prepare(with_setting(plan_in, "TEST.FLIP.ENABLED", True))[1][0]


def test_jobs_run_at_the_same_time_and_no_more_of_them(plan_in):
    watch = "import time, pathlib, sys; folder = pathlib.Path(sys.argv[1]); mark = folder.parents[2] / 'at-work'\n"
    watch += "mark.mkdir(exist_ok=True); (mark / f'{folder.parent.name}{folder.name}').touch(); time.sleep(0.7)\n"
    watch += "(folder / 'seen').write_text(str(len(list(mark.iterdir()))))\n"
    watch += "(mark / f'{folder.parent.name}{folder.name}').unlink()\n" + FINISH
    run_all(plan_in, scripts(mdpr=watch, bot=watch), jobs=2)
    seen = [int((plan_in.folder(run) / "seen").read_text()) for run in plan_in.runs]
    assert max(seen) == 2


def test_what_only_evaluates_waits_for_its_weights(plan_in):
    reading = [dataclasses.replace(run, source="mdpr") for run in plan_in.runs if run.method.name == "bot"]
    training = [run for run in plan_in.runs if run.method.name == "mdpr"]
    plan = dataclasses.replace(plan_in, runs=(*reading, *training))
    run_all(plan, scripts(mdpr="import time; time.sleep(0.5)\n" + FINISH), jobs=4)
    order = (plan.output / "order").read_text().split("\n")
    assert order.index("mdpr seed0") < order.index("bot seed0")
    assert order.index("mdpr seed1") < order.index("bot seed1")


@pytest.fixture
def heeds_interruptions():
    """What a shell starts in the background ignores Ctrl-C: this test run, perhaps."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_interruptions")
def test_an_interruption_ends_the_runs_and_leaves_no_process(plan_in):
    script = "import os, pathlib, sys, time; (pathlib.Path(sys.argv[1]) / 'pid').write_text(str(os.getpid()))\n"
    left, _ = launch.prepare(plan_in)
    marker = plan_in.folder(plan_in.runs[0]) / "pid"

    def interrupt():
        while not (marker.is_file() and marker.read_text()):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        launch.launch(plan_in, left, Local(plan_in, 1, scripts(mdpr=script + "time.sleep(60)")))
    with pytest.raises(ProcessLookupError):
        os.kill(int(marker.read_text()), 0)
    assert any("not finished yet" in line for line in problems(plan_in, summarize(plan_in)))
    assert not (plan_in.folder(plan_in.runs[0]) / records.FAILURE).exists()


def test_two_comparisons_cannot_share_a_folder(tmp_path):
    second = launch.sole_user(tmp_path)
    with launch.sole_user(tmp_path), pytest.raises(UsageError, match="another mdpr compare is at work"):
        second.__enter__()
    with launch.sole_user(tmp_path):
        assert tmp_path.is_dir()


def test_a_killed_comparison_leaves_no_lock(tmp_path):
    program = "import pathlib, sys, time\nfrom mdpr_fastreid.compare.launch import sole_user\n"
    program += "with sole_user(pathlib.Path(sys.argv[1])): print('locked', flush=True); time.sleep(60)"
    words = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "locked\n"
        with pytest.raises(UsageError, match="another mdpr compare is at work"), launch.sole_user(tmp_path):
            pass
        first.kill()
        first.wait()
        with launch.sole_user(tmp_path):
            assert tmp_path.is_dir()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UsageError, match="cannot be made: .*; choose another --output"),
        launch.sole_user(tmp_path / "file" / "comparison"),
    ):
        pass


def test_a_run_imports_what_registers_its_parts_first(plan_in):
    plan = dataclasses.replace(plan_in, imports=("my_project.heads",))
    started = []

    class NoProcess(subprocess.Popen):
        def __init__(self, words, **options):
            started.append(words)
            super().__init__([sys.executable, "-c", ""], **options)

    left, _ = launch.prepare(plan)
    with mock.patch.object(subprocess, "Popen", NoProcess):
        launch.launch(plan, left[:1], Local(plan))
    assert started[0][1:] == ["-m", "mdpr_fastreid.compare.worker", str(plan.folder(left[0])), "my_project.heads"]


def test_a_module_that_is_not_there_is_one_line(capsys):
    assert main(["compare", "--import", "no_such_project", "--dry-run"]) == 2
    assert "--import no_such_project: No module named" in capsys.readouterr().err
