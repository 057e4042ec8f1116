"""From an error to one line and an exit code, and what a run prints at its end."""

import errno
import sys

import pytest
import torch.multiprocessing as mp
from fastreid.engine import default_argument_parser
from small_runs import logged_by_fastreid, small_config

from mdpr_fastreid.engine import command_line, print_results, print_written_files, run
from mdpr_fastreid.engine.command_line import _message_alone
from mdpr_fastreid.engine.lost_machines import LostMachineError
from mdpr_fastreid.errors import UsageError


def outcome(error, capsys, monkeypatch):
    def main(args):
        raise error

    monkeypatch.setattr(sys, "argv", ["train_net.py"])
    code = run(main, default_argument_parser(), ["SEED", "1"])
    captured = capsys.readouterr()
    return code, captured.err


def test_exit_codes_and_lines(capsys, monkeypatch):
    assert outcome(UsageError("no such key"), capsys, monkeypatch) == (2, "train_net.py: no such key\n")
    assert outcome(FloatingPointError("Loss became NaN"), capsys, monkeypatch) == (1, "train_net.py: Loss became NaN\n")
    failed = mp.ProcessRaisedException("process 1 of 2 failed", 1, 7)
    assert outcome(failed, capsys, monkeypatch) == (1, "train_net.py: process 1 of 2 failed\n")
    lost = LostMachineError("node2 (process 1 of 2) is gone")
    assert outcome(lost, capsys, monkeypatch) == (1, "train_net.py: node2 (process 1 of 2) is gone\n")
    full = OSError(errno.ENOSPC, "No space left on device", "log.txt")
    code, error = outcome(full, capsys, monkeypatch)
    assert (code, error.count("\n")) == (1, 1)
    assert "No space left on device: 'log.txt': make room; --resume continues" in error
    assert outcome(KeyboardInterrupt(), capsys, monkeypatch)[0] == 130
    assert run(lambda args: None, default_argument_parser(), []) == 0


@pytest.mark.parametrize(
    ("words", "address"),
    [([], "auto"), (["--num-machines", "2", "--dist-url", "tcp://10.0.0.1:29500"], "tcp://10.0.0.1:29500")],
)
def test_runs_on_one_machine_do_not_share_fastreids_one_port_of_a_user(monkeypatch, words, address):
    addresses = []
    monkeypatch.setattr(command_line, "launch", lambda main, *numbers, args: addresses.append(numbers[-1]))
    assert run(print, default_argument_parser(), ["--num-gpus", "2", *words]) == 0
    assert addresses == [address]


@pytest.mark.parametrize("error", [ZeroDivisionError(), BrokenPipeError()])
def test_an_error_that_is_no_mistake_of_the_users_keeps_its_traceback(error):
    def main(args):
        raise error

    with pytest.raises(type(error)):
        run(main, default_argument_parser(), [])


def test_the_traceback_of_a_loaders_worker_is_left_out():
    text = (
        "Caught UsageError in DataLoader worker process 0.\nOriginal Traceback...\nmdpr.UsageError: 1.jpg: unreadable\n"
    )
    assert _message_alone(UsageError(text)) == "1.jpg: unreadable"
    assert _message_alone(UsageError("plain")) == "plain"


def test_a_run_ends_with_its_table_and_its_files(tmp_path, capsys):
    cfg = small_config(tmp_path, "DATASETS.TESTS", ("Market1501",))
    (tmp_path / "model_final.pth").touch()
    with logged_by_fastreid() as messages:
        print_results(cfg, {"Rank-1": 50.0, "mAP": 25.0})
        print_results(cfg, {"DukeMTMC": {"mAP": 12.5}, "MSMT17": {"mAP": 6.25}})
        print_results(cfg, None)
    rows = [line.replace(" ", "") for message in messages for line in message.splitlines() if line.startswith("| ")]
    assert "|Market1501|50.00|25.00|" in rows
    assert "|DukeMTMC|12.50|" in rows
    assert "|MSMT17|6.25|" in rows
    assert len(rows) == 6
    print_written_files(str(tmp_path))
    assert capsys.readouterr().out.splitlines()[-1:] == [f"wrote {tmp_path / 'model_final.pth'}"]
