"""Slurm: what is wrong is one line before anything is submitted; a real one of one node keeps what it was promised.

The first half runs programs of a line in Slurm's place, the second half slurmctld and slurmd, where they are installed.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from support.comparisons import OVERRIDES
from support.played_runs import play
from support.small_slurm import small_slurm, why_not

from mdpr_fastreid.cli import main
from mdpr_fastreid.compare import jobs, launch, records
from mdpr_fastreid.compare.launchers import slurm, submitted
from mdpr_fastreid.compare.launchers.attempts import read_attempt
from mdpr_fastreid.compare.launchers.slurm import Slurm, read_options
from mdpr_fastreid.compare.launchers.submitted import JobState, Submitted
from mdpr_fastreid.compare.summary import summarize
from mdpr_fastreid.errors import UsageError

PROGRAMS = {
    "sinfo": "echo tiny; echo gpu",
    "sbatch": 'case "$*" in *time=soon*) echo "sbatch: error: Invalid --time specification" >&2; exit 1;; '
    "*) echo Submitted batch job 7;; esac",
    "squeue": "echo '7|a|RUNNING|None'; echo '8|b|PENDING|Resources'; echo '9|c|TIMEOUT|None'; echo '6|a|FAILED|None'",
    "scancel": "exit 0",
    "srun": "exit 0",
}


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Programs in Slurm's place, alone on the path; returns what writes another one."""
    place = tmp_path / "bin"
    place.mkdir()

    def write(name, script):
        (place / name).write_text(f"#!/bin/sh\n{script}\n")
        (place / name).chmod(0o755)

    for name, script in PROGRAMS.items():
        write(name, script)
    monkeypatch.setenv("PATH", f"{place}:/usr/sbin:/bin")
    return write


@pytest.mark.parametrize(
    ("texts", "options"),
    [
        ([], {}),
        (["partition=gpu,gpus=1,time=4:00:00"], {"partition": "gpu", "gpus": "1", "time": "4:00:00"}),
        (
            ["exclude=node1,node2,mem=8G", "cpus_per_task = 4"],
            {"exclude": "node1,node2", "mem": "8G", "cpus-per-task": "4"},
        ),
        (["gres=gpu:a100:1,comment=a=b"], {"gres": "gpu:a100:1", "comment": "a=b"}),
    ],
)
def test_options_are_those_of_sbatch(texts, options):
    assert read_options(texts) == options


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["partitoin=gpu"], "--slurm partitoin=gpu: did you mean partition?"),
        (["array=1-3"], "--slurm array=1-3: there are account, begin"),
        (["gpus"], "--slurm gpus: gpus has no value; write --slurm partition=gpu,time=4:00:00"),
        (["time="], "--slurm time=: time has no value"),
        (["mem=1G", "mem=2G"], "--slurm names mem twice"),
    ],
)
def test_options_that_cannot_be_are_one_line(texts, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        read_options(texts)


@pytest.mark.skipif(os.name != "posix", reason="shell scripts stand in for Slurm")
def test_what_is_missing_is_one_line_before_anything_else(programs, monkeypatch, capsys):
    def line(*words):
        assert main(["compare", "--launcher", "slurm", "--data", "NoSuchData", *words]) == 2
        return capsys.readouterr().err.removeprefix("mdpr compare: ").strip()

    assert "NoSuchData" in line(), "Slurm is all right"
    nope = "--slurm partition=nope: there is no partition nope; there are gpu, tiny"
    assert line("--slurm", "partition=nope") == nope
    said = "--slurm partition=gpu,time=soon: sbatch says: sbatch: error: Invalid --time specification"
    assert line("--slurm", "partition=gpu,time=soon") == said
    programs("sinfo", "echo 'slurm_load_partitions: Unable to contact slurm controller' >&2; exit 1")
    assert line() == "sinfo says: slurm_load_partitions: Unable to contact slurm controller"
    monkeypatch.setattr(slurm.importlib.util, "find_spec", lambda name: None)
    assert line() == "--launcher slurm needs submitit: pip install 'mdpr-fastreid[slurm]'"
    monkeypatch.undo()
    monkeypatch.setenv("PATH", "/nowhere")
    assert line().startswith(
        "no Slurm here: sbatch, srun, squeue, scancel, sinfo not found; start it on a machine that"
    )
    assert main(["compare", "--slurm", "time=1"]) == 2
    assert "--slurm and --resubmit are options of --launcher slurm" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="shell scripts stand in for Slurm")
def test_a_job_is_submitted_through_submitit_and_found_by_its_name(programs, tmp_path):
    pytest.importorskip("submitit")
    cluster = Slurm({"partition": "gpu", "time": "4:00:00"})
    assert cluster.submit(tmp_path / "run", "mdpr-a-1", ()) == "7"
    script = (tmp_path / "run" / "jobs" / "7_submission.sh").read_text()
    asked = set(re.findall(r"^#SBATCH --(job-name|partition|time|output)=(.*)$", script, re.MULTILINE))
    log = str(tmp_path / "run" / "jobs" / "%j_0_log.out")
    assert asked == {("job-name", "mdpr-a-1"), ("partition", "gpu"), ("time", "4:00:00"), ("output", log)}
    Slurm().submit(tmp_path / "other", "b", ())
    assert "--time" not in (tmp_path / "other" / "jobs" / "7_submission.sh").read_text(), "it is the partition's"
    assert cluster.states(["a", "b", "c"]) == {
        "a": JobState("7", "RUNNING", True),
        "b": JobState("8", "PENDING", True, "Resources"),
        "c": JobState("9", "TIMEOUT", False),
    }
    programs("squeue", "exit 1")
    programs("sbatch", "echo 'sbatch: error: QOSMaxSubmitJobPerUserLimit' >&2; exit 1")
    assert cluster.states(["a"]) is None and cluster.states([]) == {}
    with pytest.raises(UsageError, match="QOSMaxSubmitJobPerUserLimit"):
        cluster.submit(tmp_path / "run", "mdpr-a-2", ())


needs_slurm = pytest.mark.skipif(bool(why_not()), reason=f"no Slurm of one node: {why_not()}")


@pytest.fixture(scope="module")
def real_slurm():
    """A Slurm of one node, which forgets ended jobs after five seconds."""
    pytest.importorskip("submitit")
    folder = Path(tempfile.mkdtemp(prefix="slurm"))  # sockets have short paths
    try:
        with small_slurm(folder, min_job_age=5):
            yield folder
    except RuntimeError as error:
        pytest.skip(str(error))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def alive(plan):
    found = Slurm().states([read_attempt(plan.folder(run)).name for run in plan.runs])
    return [job for job in found.values() if job.alive]


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.1)


@needs_slurm
def test_runs_on_slurm_survive_scancel_a_kill_and_the_end_of_the_command(plan_in, play_of, real_slurm, monkeypatch):
    monkeypatch.setattr(slurm, "work", play)
    monkeypatch.setattr(submitted, "_SECONDS_FOR_FILES", 1.0)
    monkeypatch.setattr(Slurm, "seconds", 0.3)
    left = play_of(mdpr_seed0=["wait", "finish"], bot_seed0=["die", "finish"], mdpr_seed1=["fail"])
    cluster = Slurm(read_options(["partition=tiny,time=5"]))
    Submitted(plan_in, cluster).start(left[0])
    wait_until((plan_in.folder(left[0]) / "played").is_file)
    # Nobody watches any more, and the administrator cancels the job, which Slurm then forgets
    name = read_attempt(plan_in.folder(left[0])).name
    cluster.cancel([name])
    wait_until(lambda: cluster.states([name]) == {})
    launch.launch(plan_in, left, Submitted(plan_in, cluster))
    played = {run.name: (plan_in.folder(run) / "played").read_text().split()[::2] for run in left}
    assert played == {
        "mdpr/seed0": ["wait", "finish"],
        "bot/seed0": ["die", "finish"],
        "mdpr/seed1": ["fail"],
        "bot/seed1": ["finish"],
    }
    summaries = {one.method.name: one for one in summarize(plan_in)}
    assert list(summaries["mdpr"].results) == [0] and list(summaries["bot"].results) == [0, 1]
    assert summaries["mdpr"].failures == {1: "NaN"}
    assert [read_attempt(plan_in.folder(run)).resubmissions for run in left] == [1, 1, 0, 0]


@needs_slurm
def test_cancel_and_what_slurm_refuses(plan_in, play_of, real_slurm, monkeypatch, capsys):
    monkeypatch.setattr(slurm, "work", play)
    left = play_of(**{run.name.replace("/", "_"): ["wait"] for run in plan_in.runs})
    launcher = Submitted(plan_in, Slurm())
    for run in left:
        launcher.start(run)
    assert main(["compare", "--status", "--output", str(plan_in.output)]) == 0
    assert re.search(r"^mdpr/seed0 +\d+ +(PENDING|RUNNING|CONFIGURING)", capsys.readouterr().out, re.MULTILINE)
    assert main(["compare", "--cancel", "--output", str(plan_in.output)]) == 0
    assert capsys.readouterr().out.startswith("cancelled 4 jobs (")
    assert not alive(plan_in)
    with pytest.raises(UsageError, match="there is no partition nope; there are short, tiny$"):
        Slurm({"partition": "nope"}).check()
    with pytest.raises(UsageError, match=r"--slurm gpus=1: sbatch says: .*generic resource"):
        Slurm({"gpus": "1"}).check()
    with pytest.raises(UsageError, match=r"--slurm cpus-per-task=999: sbatch says: .*not available"):
        Slurm({"cpus-per-task": "999"}).check()
    Slurm({"time": "1"}).check()
    assert subprocess.run(["squeue", "-h"], capture_output=True, check=True).stdout == b"", "a check submits nothing"


@needs_slurm
def test_a_command_killed_while_its_job_trains_goes_on_and_writes_the_page(real_slurm, tmp_path, monkeypatch, capsys):
    config = tmp_path / "small.yml"
    config.write_text("MODEL: {BACKBONE: {NAME: build_osnet_backbone, DEPTH: x0_25}, HEADS: {WITH_BNNECK: True}}")
    output = tmp_path / "out"
    words = ["compare", "--launcher", "slurm", "--slurm", "partition=tiny", "--output", str(output)]
    words += ["--data", "SynthReIDTiny", "--methods", str(config), "--size", "32x16", "--batch", "64", "--epochs", "12"]
    words += [*OVERRIDES, "MODEL.DEVICE", "cpu", "TEST.EVAL_PERIOD", "12"]
    folder = output / "runs" / "small" / "seed0"
    program = "import sys; from mdpr_fastreid.cli import main; sys.exit(main(sys.argv[1:]))"
    with (tmp_path / "said").open("w") as said:
        command = subprocess.Popen([sys.executable, "-c", program, *words], stdout=said, stderr=said)
        wait_until(lambda: (folder / records.CHECKPOINT).is_file() or command.poll() is not None, 180)
        assert command.poll() is None, (tmp_path / "said").read_text()
        command.send_signal(signal.SIGKILL)
        command.wait()
    attempt = read_attempt(folder)
    Slurm().cancel([attempt.name])
    monkeypatch.setattr(Slurm, "seconds", 0.5)
    assert main(words) == 0
    printed = capsys.readouterr()
    assert f"small/seed0: found as job {attempt.id}" in printed.err
    assert f"small/seed0: job {attempt.id} (CANCELLED) ended without a result; submitted again as job" in printed.err
    assert "Starting training from epoch" in (folder / "log.txt").read_text().rpartition("Loading checkpoint")[2]
    assert (output / "report.html").is_file() and json.loads((folder / "result.json").read_text())["metrics"]["mAP"] > 0
    assert "finished" in jobs.status(output, Slurm())
