"""Numbers of machines that cannot be, and what killed launches leave behind."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from mdpr_fastreid.engine.launch import launch
from mdpr_fastreid.engine.launch_records import ErrorRecord, error_records, records_folder, write_record
from mdpr_fastreid.errors import UsageError

_LAUNCH = "import time\nfrom mdpr_fastreid.engine.launch_records import records_folder\n"
_LAUNCH += "with records_folder() as folder:\n    print(folder, flush=True)\n    time.sleep(600)\n"


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"num_machines": 2, "machine_rank": 2}, "--machine-rank 2 is none of --num-machines 2: give 0 to 1"),
        ({"machine_rank": 1}, "--machine-rank 1 is none of --num-machines 1: give 0 to 0"),
        ({"num_machines": 2, "machine_rank": -1}, "--machine-rank -1 is none of --num-machines 2"),
        ({"num_machines": 0}, "--num-machines 0: give at least 1"),
        ({"num_gpus_per_machine": -1}, "--num-gpus -1: give 1 or more"),
    ],
)
def test_machines_and_processes_that_cannot_be_are_named_before_anything_starts(numbers, message):
    with pytest.raises(UsageError, match=message):
        launch(pytest.fail, **{"num_gpus_per_machine": 2, "dist_url": "tcp://127.0.0.1:1", **numbers})


def _killed_launch(seconds_ago):
    process = subprocess.Popen([sys.executable, "-c", _LAUNCH], stdout=subprocess.PIPE, text=True)
    folder = Path(process.stdout.readline().strip())
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert folder.is_dir()
    os.utime(folder, (time.time() - seconds_ago,) * 2)
    return folder


def test_the_folder_of_a_killed_launch_goes_with_the_next_one():
    left = _killed_launch(seconds_ago=90)
    with records_folder() as folder:
        assert folder.is_dir() and not left.exists()
    assert not folder.exists()


def test_the_folders_of_others_stay(temporary):
    young = _killed_launch(seconds_ago=0)
    own = temporary / "fastreid-launch-notes"
    own.mkdir()
    (own / "mine.txt").write_text("mine")
    (temporary / "elsewhere").mkdir()
    (temporary / "elsewhere/.lock").touch()
    (temporary / "fastreid-launch-link").symlink_to(temporary / "elsewhere")
    for path in (own, temporary / "elsewhere"):
        os.utime(path, (time.time() - 90,) * 2)
    with records_folder() as running:
        os.utime(running, (time.time() - 90,) * 2)
        with records_folder():
            assert running.is_dir()
        write_record(running, ErrorRecord(2.0, 0, 10, None, "later"))
        write_record(running, ErrorRecord(1.0, 1, 11, "wrong", "first"))
        assert [record.text for record in error_records(running)] == ["first", "later"]
    assert young.is_dir() and (own / "mine.txt").is_file() and (temporary / "elsewhere/.lock").is_file()


def test_a_process_whose_starter_is_gone_ends_with_its_own_error(temporary):
    write_record(temporary / "gone", ErrorRecord(1.0, 0, 10, None, "text"))
    assert not (temporary / "gone").exists()
