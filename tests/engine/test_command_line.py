"""Mistakes on the command line are one line, with the way out, and exit code 2."""

import errno
import sys

import pytest
import torch.multiprocessing as mp
from fastreid.engine import default_argument_parser
from small_runs import logged_by_fastreid, small_config

from mdpr_fastreid.engine import config_from, print_results, print_written_files, run
from mdpr_fastreid.engine.command_line import _message_alone
from mdpr_fastreid.errors import UsageError


def parsed(*words):
    return default_argument_parser().parse_args([str(word) for word in words])


@pytest.fixture
def config_file(tmp_path):
    (tmp_path / "base.yml").write_text("SOLVER:\n  MAX_EPOCH: 7\n")
    (tmp_path / "mine.yml").write_text("_BASE_: base.yml\nSEED: 3\nSOLVER:\n  AMP:\n    DTYPE: bfloat16\n")
    return tmp_path / "mine.yml"


def test_file_base_file_and_overrides_are_merged_in_this_order(config_file):
    cfg = config_from(parsed("--config-file", config_file, "SEED", "5", "DATASETS.NAMES", "('A','B')"))
    assert (cfg.SOLVER.MAX_EPOCH, cfg.SEED, cfg.SOLVER.AMP.DTYPE) == (7, 5, "bfloat16")
    assert cfg.DATASETS.NAMES == ("A", "B")
    assert cfg.is_frozen()


MISTAKES = {
    "a key that does not exist": (["SOLVER.BASE_LRR", "1"], r"no key SOLVER\.BASE_LRR; did you mean SOLVER\.BASE_LR\?"),
    "a key in the wrong section": (["MODEL.SEED", "1"], r"no key MODEL\.SEED; did you mean"),
    "a section instead of a key": (["SOLVER", "1"], r"there is no key SOLVER"),
    "a key without a value": (["SEED"], r"pairs KEY VALUE; SEED has no value"),
    "an option among them": (
        ["SEED", "1", "--eval-only"],
        r"no key --eval-only; options come before the pairs KEY VALUE",
    ),
    "no device": (["MODEL.DEVICE", "quantum"], r"MODEL\.DEVICE 'quantum' is no device: cpu, cuda"),
    "a loss that the toolbox would leave out": (
        ["MODEL.LOSSES.NAME", "('CrossEntropyLoss','TripletLos')"],
        r"MODEL\.LOSSES\.NAME: Baseline has no TripletLos; it has CrossEntropyLoss, TripletLoss",
    ),
    "a value of the wrong type": (["SOLVER.MAX_EPOCH", "many"], r"SOLVER\.MAX_EPOCH cannot be 'many'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_an_override_with(mistake):
    words, message = MISTAKES[mistake]
    with pytest.raises(UsageError, match=message) as caught:
        config_from(parsed(*words))
    assert "\n" not in str(caught.value)


FILES = {
    "unknown key": ("SOLVER:\n  MAX_EPOCHS: 7\n", r"bad\.yml: there is no key SOLVER\.MAX_EPOCHS; did you mean"),
    "wrong type": ("SOLVER:\n  MAX_EPOCH: many\n", r"bad\.yml: .*SOLVER\.MAX_EPOCH"),
    "no YAML": ("SOLVER: [1, \n", r"bad\.yml cannot be read as YAML"),
    "a plain text": ("hello\n", r"bad\.yml is empty, or no mapping of keys to values"),
    "nothing in it": ("", r"bad\.yml is empty, or no mapping of keys to values"),
    "a list": ("- SOLVER\n- MODEL\n", r"bad\.yml is empty, or no mapping of keys to values"),
    "no base file": ("_BASE_: bass.yml\n", r"config file .*bass\.yml does not exist"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", FILES)
def test_a_config_file_with(tmp_path, mistake):
    text, message = FILES[mistake]
    (tmp_path / "bad.yml").write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        config_from(parsed("--config-file", tmp_path / "bad.yml"))
    assert "\n" not in str(caught.value)


def test_a_missing_config_file_gets_the_nearest_name(config_file):
    with pytest.raises(UsageError, match=r"min\.yml does not exist; did you mean .*mine\.yml\?"):
        config_from(parsed("--config-file", config_file.with_name("min.yml")))


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
    full = OSError(errno.ENOSPC, "No space left on device", "log.txt")
    code, error = outcome(full, capsys, monkeypatch)
    assert (code, error.count("\n")) == (1, 1)
    assert "No space left on device: 'log.txt': make room; --resume continues" in error
    assert outcome(KeyboardInterrupt(), capsys, monkeypatch)[0] == 130
    assert run(lambda args: None, default_argument_parser(), []) == 0


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


def test_a_configuration_of_ours_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config_from(parsed("--config-file", "configs/MDPR/duke_r50.yml")).DATASETS.NAMES == ("DukeMTMC",)
