"""Runs as jobs: none twice, none lost. Most jobs here are entries of a dict; a few are processes of submitit's."""

import dataclasses
import os
import signal
import threading
import time

import pytest
from support.clusters import LocalCluster, MadeUpCluster
from support.played_runs import finish, play, rehearse

from mdpr_fastreid.cli import main
from mdpr_fastreid.compare import jobs, launch, records
from mdpr_fastreid.compare.launchers import CancelledError, submitted, work
from mdpr_fastreid.compare.launchers.attempts import FOLDER, claim, new_attempt, read_attempt, write_attempt
from mdpr_fastreid.compare.launchers.submitted import Submitted
from mdpr_fastreid.compare.summary import summarize
from mdpr_fastreid.errors import UsageError


@pytest.fixture(autouse=True)
def _waits_for_nothing(monkeypatch):
    monkeypatch.setattr(submitted, "_SECONDS_FOR_FILES", 0.0)
    monkeypatch.setattr(submitted, "_SECONDS_FOR_AN_ANSWER", 0.0)


@pytest.fixture
def one(plan_in):
    """A plan whose folders are made, its first run, and a cluster."""
    launch.prepare(plan_in)
    return plan_in, plan_in.runs[0], MadeUpCluster()


def name_of(plan, run):
    return read_attempt(plan.folder(run)).name


def test_a_job_that_ends_without_a_result_is_submitted_again_whatever_ended_it(one):
    plan, run, cluster = one
    launcher = Submitted(plan, cluster)
    launcher.start(run)
    for number, state in enumerate(("CANCELLED", "TIMEOUT", "PREEMPTED", "NODE_FAIL", "FAILED"), 1):
        assert not launcher.ended([run]), "it waits"
        cluster.set(name_of(plan, run), state, alive=False)
        assert not launcher.ended([run])
        assert read_attempt(plan.folder(run)).resubmissions == number
        (line,) = launcher.notices()
        assert line.startswith(f"{run.name}: job {number} ({state}) ended without a result; submitted again as job")
    finish(plan.folder(run))
    assert launcher.ended([run]) == [run]
    assert cluster.submitted == [run.name] * 6 and read_attempt(plan.folder(run)).over


def test_a_job_that_slurm_forgot_is_submitted_again_and_one_that_still_ends_is_not(one):
    plan, run, cluster = one
    launcher = Submitted(plan, cluster)
    launcher.start(run)
    cluster.set(name_of(plan, run), "COMPLETING", alive=True)
    assert not launcher.ended([run]) and len(cluster.submitted) == 1
    cluster.jobs.clear()
    assert not launcher.ended([run]) and len(cluster.submitted) == 2


def test_a_failure_of_the_run_itself_is_final(one):
    plan, run, cluster = one
    launcher = Submitted(plan, cluster)
    launcher.start(run)
    records.write_json(plan.folder(run) / records.FAILURE, {"error": "NaN", "log": "log.txt"})
    assert launcher.ended([run]) == [run]
    launcher.start(run)  # by the same command, called again
    assert len(cluster.submitted) == 2 and not (plan.folder(run) / records.FAILURE).exists()


def test_resubmissions_have_an_end_and_the_message_says_how_to_go_on(one):
    plan, run, cluster = one
    launcher = Submitted(plan, cluster, resubmissions=2)
    launcher.start(run)
    for _ in range(2):
        cluster.set(name_of(plan, run), "TIMEOUT", alive=False)
        assert not launcher.ended([run])
    cluster.set(name_of(plan, run), "TIMEOUT", alive=False)
    assert launcher.ended([run]) == [run]
    error = summarize(plan)[0].failures[0]
    assert error.startswith("job 3 (TIMEOUT) ended without a result after 2 resubmissions: the same command goes on")
    assert "--resubmit N allows more" in error and "it left no log: do the nodes see" in error
    Submitted(plan, cluster).start(run)
    assert read_attempt(plan.folder(run)).resubmissions == 0, "the user has asked for it once more"


def test_out_of_memory_is_not_tried_again(one):
    plan, run, cluster = one
    launcher = Submitted(plan, cluster)
    launcher.start(run)
    cluster.set(name_of(plan, run), "OUT_OF_MEMORY", alive=False)
    assert launcher.ended([run]) == [run]
    assert "give it more with --slurm mem=..." in summarize(plan)[0].failures[0]


def test_a_command_that_was_killed_finds_its_jobs(one):
    plan, run, cluster = one
    Submitted(plan, cluster).start(run)
    again = Submitted(plan, cluster)
    again.start(run)
    assert again.notices() == [f"{run.name}: found as job 1"]
    cluster.set(name_of(plan, run), "RUNNING", alive=True)
    assert not again.ended([run]) and cluster.submitted == [run.name]
    # It ended while nobody watched
    cluster.set(name_of(plan, run), "CANCELLED", alive=False)
    third = Submitted(plan, cluster)
    third.start(run)
    assert not third.ended([run])
    assert cluster.submitted == [run.name] * 2 and read_attempt(plan.folder(run)).resubmissions == 1


def test_a_command_that_was_killed_before_it_had_the_number_finds_the_job_by_its_name(one, monkeypatch):
    plan, run, cluster = one
    folder = plan.folder(run)
    Submitted(plan, cluster).start(run)
    write_attempt(folder, dataclasses.replace(read_attempt(folder), id=""))
    again = Submitted(plan, cluster)
    again.start(run)
    assert not again.ended([run])
    assert read_attempt(folder).id == "1" and cluster.submitted == [run.name]
    # The job never came to be: it does not count, and nobody is in a hurry
    write_attempt(folder, new_attempt(run.name))
    monkeypatch.setattr(submitted, "_SECONDS_FOR_AN_ANSWER", 60.0)
    assert not again.ended([run]) and len(cluster.submitted) == 1
    monkeypatch.setattr(submitted, "_SECONDS_FOR_AN_ANSWER", 0.0)
    assert not again.ended([run]) and len(cluster.submitted) == 2
    assert read_attempt(folder).resubmissions == 0


def test_a_cluster_that_does_not_answer_or_refuses_loses_nothing(one):
    plan, run, cluster = one
    launcher = Submitted(plan, cluster)
    launcher.start(run)
    cluster.set(name_of(plan, run), "TIMEOUT", alive=False)
    cluster.answers = False
    assert not launcher.ended([run]) and not launcher.ended([run])
    assert launcher.notices() == ["the cluster does not answer; its jobs go on, and it is asked again"]
    cluster.answers, cluster.refuses = True, True
    assert not launcher.ended([run])
    assert launcher.notices() == [f"{run.name}: not submitted, and tried again: sbatch says: the queue is full"]
    cluster.refuses = False
    assert not launcher.ended([run]) and len(cluster.submitted) == 2
    assert read_attempt(plan.folder(run)).resubmissions == 1
    cluster.refuses = True
    with pytest.raises(UsageError, match="the queue is full"):
        launcher.start(plan.runs[1])


def test_a_run_whose_job_file_is_damaged_is_not_submitted_blindly(one):
    plan, run, cluster = one
    launcher = Submitted(plan, cluster)
    launcher.start(run)
    (plan.folder(run) / "job.json").write_text("{")
    for look in (launcher.start, lambda run: launcher.ended([run])):
        with pytest.raises(UsageError, match=r"job.json is damaged: look for the run's job with squeue"):
            look(run)
    assert cluster.submitted == [run.name]


def test_one_job_alone_works_at_an_attempt(tmp_path):
    (tmp_path / FOLDER).mkdir()
    attempt = write_attempt(tmp_path, new_attempt("mdpr/seed0"))
    assert claim(tmp_path, attempt.name, "7") == ""
    assert claim(tmp_path, attempt.name, "7") == "", "the scheduler has started it once more"
    assert claim(tmp_path, attempt.name, "8") == "job 7 is at work on it"
    write_attempt(tmp_path, new_attempt("mdpr/seed0"))
    assert claim(tmp_path, attempt.name, "7") == "the comparison has given this job up"


@pytest.fixture
def in_a_job(monkeypatch):
    """The environment of a job of submitit's, and the handler of SIGTERM put back."""
    pytest.importorskip("submitit")
    for name, value in (("EXECUTOR", "local"), ("FOLDER", "x"), ("LOCAL_JOB_ID", "7")):
        monkeypatch.setenv(f"SUBMITIT_{name}", value)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("in_a_job")
def test_a_job_does_its_run_once_and_leaves_why_it_failed(tmp_path, monkeypatch, capsys):
    (tmp_path / FOLDER).mkdir()
    attempt = write_attempt(tmp_path, new_attempt("mdpr/seed0"))
    done = []
    monkeypatch.setattr("mdpr_fastreid.compare.worker.main", lambda folder: done.append(folder) or 0)
    work.work(str(tmp_path), attempt.name)
    assert done == [tmp_path] and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    with pytest.raises(SystemExit):
        work.work(str(tmp_path), attempt.name, ["no_such_project"])
    assert "no_such_project" in records.read_json(tmp_path / records.FAILURE)["error"]
    finish(tmp_path)
    work.work(str(tmp_path), attempt.name)
    assert len(done) == 1 and "nothing is done: the run is finished" in capsys.readouterr().out


def test_status_says_where_every_run_is(one, capsys):
    plan, _, cluster = one
    launcher = Submitted(plan, cluster)
    for run in plan.runs[:3]:
        launcher.start(run)
    records.write_progress(plan.folder(plan.runs[1]), "training", iteration=30, total=120, seconds_left=9)
    cluster.set(name_of(plan, plan.runs[1]), "RUNNING", alive=True)
    log = plan.folder(plan.runs[1]) / FOLDER / "2_0_log.out"
    log.parent.mkdir()
    log.touch()
    cluster.set(name_of(plan, plan.runs[2]), "TIMEOUT", alive=False)
    text = jobs.status(plan.output, cluster)
    rows = {line.split()[0]: line.split() for line in text.splitlines()[:5]}
    assert rows["run"] == ["run", "job", "state", "iteration", "resubmissions", "log"]
    assert rows["mdpr/seed0"] == ["mdpr/seed0", "1", "PENDING", "(Resources)", "0"]
    assert rows["bot/seed0"] == ["bot/seed0", "2", "RUNNING", "30/120", "0", str(log)]
    assert rows["mdpr/seed1"] == ["mdpr/seed1", "3", "ended", "(TIMEOUT)", "0"]
    assert rows["bot/seed1"] == ["bot/seed1", "waiting"]
    assert text.endswith("no mdpr compare is at work here: the same command goes on, and submits again what has ended")
    records.write_json(plan.folder(plan.runs[1]) / records.FAILURE, {"error": "NaN", "log": "log.txt"})
    finish(plan.folder(plan.runs[2]))
    cluster.answers = False
    text = jobs.status(plan.output, cluster)
    assert "bot/seed0 failed: NaN\nthe cluster does not answer: these are the states that were seen last" in text
    assert "mdpr/seed1  3      finished" in text
    assert main(["compare", "--status", "--output", str(plan.output / "nothing")]) == 2
    assert "nothing has no runs of a comparison; name its folder with --output" in capsys.readouterr().err


def test_what_has_a_job_is_neither_run_here_nor_set_aside(one):
    plan, run, cluster = one
    jobs.refuse_jobs(plan.output)
    Submitted(plan, cluster).start(run)
    with pytest.raises(UsageError, match=r"at work on a cluster \(mdpr/seed0 as job 1\): --launcher slurm goes on"):
        jobs.refuse_jobs(plan.output)
    jobs.refuse_changed(plan)
    cfg = run.cfg.clone()
    cfg.merge_from_list(["SOLVER.BASE_LR", 0.5])
    changed = dataclasses.replace(plan, runs=(dataclasses.replace(run, cfg=cfg), *plan.runs[1:]))
    with pytest.raises(UsageError, match=r"mdpr/seed0 is at work as job 1 under other conditions \(SOLVER.BASE_LR"):
        jobs.refuse_changed(changed)
    jobs.cancel(plan.output, cluster)
    jobs.refuse_changed(changed)
    jobs.refuse_jobs(plan.output)
    with pytest.raises(UsageError, match="has no jobs at work"):
        jobs.cancel(plan.output, cluster)


def test_jobs_of_submitits_survive_a_kill_and_the_report_follows(plan_in, play_of, tmp_path, capsys):
    left = play_of(mdpr_seed0=["die", "finish"], bot_seed0=["fail"])[:3]
    cluster = LocalCluster(tmp_path / "book", play)
    finished = []

    def count():
        finished.append(sum(len(one.results) for one in summarize(plan_in)))

    launch.launch(plan_in, left, Submitted(plan_in, cluster), count)
    summaries = {one.method.name: one for one in summarize(plan_in)}
    assert sorted(summaries["mdpr"].results) == [0, 1] and summaries["bot"].failures == {0: "NaN"}
    assert read_attempt(plan_in.folder(plan_in.runs[0])).resubmissions == 1
    assert finished[-1] == 2 and len(finished) >= 2, "a report is due whenever runs have ended"
    said = capsys.readouterr().err
    assert "mdpr/seed0: job " in said and "ended without a result; submitted again as job " in said
    logs = jobs.status(plan_in.output, cluster)
    assert logs.count("_0_log.out") == 3 and "bot/seed0 failed: NaN" in logs


def test_cancelling_ends_jobs_and_the_command_that_watches_and_it_can_start_again(plan_in, play_of, tmp_path):
    left = play_of(mdpr_seed0=["wait"], bot_seed0=["wait"])[:2]
    cluster = LocalCluster(tmp_path / "book", play)
    said = []

    def cancel():
        while not all(read_attempt(plan_in.folder(run)) and read_attempt(plan_in.folder(run)).id for run in left):
            time.sleep(0.05)
        said.append(jobs.cancel(plan_in.output, cluster))

    thread = threading.Thread(target=cancel)
    thread.start()
    with launch.sole_user(plan_in.output), pytest.raises(CancelledError):
        launch.launch(plan_in, left, Submitted(plan_in, cluster))
    thread.join(60)
    pids = [int(read_attempt(plan_in.folder(run)).id) for run in left]
    assert said[0].startswith(f"cancelled 2 jobs ({pids[0]}, {pids[1]})") or said[0].startswith("cancelled 2 jobs (")
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert "cancelled" in jobs.status(plan_in.output, cluster)
    for run in left:
        rehearse(plan_in.folder(run), "finish")
    launch.launch(plan_in, left, Submitted(plan_in, cluster))
    assert all(records.read_result(plan_in.folder(run)) for run in left)
