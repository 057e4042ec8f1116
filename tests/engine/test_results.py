"""What a run ends with."""

import shutil
import signal
import subprocess
import sys
from collections import OrderedDict

import pytest
from small_runs import small_config, trained
from torch import nn

from mdpr_fastreid.engine import Trainer, make_output_dir, print_results
from mdpr_fastreid.engine.results import check_room, locked_output_dir, write_untrained_results
from mdpr_fastreid.errors import UsageError


def test_the_untrained_network_is_measured_before_training_and_printed_beside_the_trained_one(tmp_path, capsys):
    cfg = small_config(tmp_path, "SOLVER.MAX_EPOCH", 1, "TEST.EVAL_PERIOD", 1, "TEST.EVAL_UNTRAINED", True)
    trainer = trained(cfg, trainer_class=Trainer)
    print_results(cfg, trainer._last_eval_results)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if " untrained, " in line]
    assert f"{trainer._last_eval_results['mAP']:.2f} trained" in line

    untrained = float(line.split("mAP ")[1].split(" untrained")[0])
    fresh = Trainer.build_model(cfg)
    assert 0 < untrained < 100
    # The weights before training are those of this seed, so measuring them again gives the same.
    assert untrained == pytest.approx(Trainer.test(cfg, fresh)["mAP"], abs=15)


def test_a_resumed_run_still_knows_what_the_untrained_network_reached(tmp_path, capsys):
    cfg = small_config(tmp_path, "TEST.EVAL_UNTRAINED", True)
    write_untrained_results(cfg, OrderedDict(mAP=5.0))
    print_results(cfg, OrderedDict(mAP=20.0))
    assert "SynthReIDTiny: mAP 5.00 untrained, 20.00 trained (4.0 times)" in capsys.readouterr().out


def test_every_pairing_has_a_line_of_its_own(tmp_path, capsys):
    cfg = small_config(tmp_path, "TEST.EVAL_UNTRAINED", True)
    write_untrained_results(cfg, OrderedDict({"I2V/mAP": 5.0, "V2V/mAP": 4.0, "metric": 1.0}))
    print_results(cfg, OrderedDict({"I2V/mAP": 20.0, "V2V/mAP": 6.0, "metric": 2.0}))
    lines = [line for line in capsys.readouterr().out.splitlines() if " untrained, " in line]
    assert lines == [
        "SynthReIDTiny: I2V/mAP 5.00 untrained, 20.00 trained (4.0 times)",
        "SynthReIDTiny: V2V/mAP 4.00 untrained, 6.00 trained (1.5 times)",
    ]


def test_several_test_sets_are_compared_each_with_itself(tmp_path, capsys):
    cfg = small_config(tmp_path, "TEST.EVAL_UNTRAINED", True)
    write_untrained_results(cfg, {"A": OrderedDict(mAP=5.0), "B": OrderedDict(mAP=4.0)})
    print_results(cfg, OrderedDict(A=OrderedDict(mAP=10.0), B=OrderedDict(mAP=10.0)))
    lines = [line for line in capsys.readouterr().out.splitlines() if "untrained" in line]
    assert [line.split(" (")[1] for line in lines] == ["2.0 times)", "2.5 times)"]


def test_an_output_folder_without_room_for_a_checkpoint_is_told_before_training(tmp_path, monkeypatch):
    model = nn.Linear(1024, 1023)  # 4 MiB
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=8 * 2**20))
    check_room(str(tmp_path), model)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(UsageError, match=r"OUTPUT_DIR .*: a checkpoint takes 8 MiB or more, and 0 are free; make room"):
        check_room(str(tmp_path), model)
    with pytest.raises(UsageError, match="a checkpoint takes"):
        trained(small_config(tmp_path / "run"), trainer_class=Trainer)
    assert (tmp_path / "run" / "metrics.json").read_text() == ""


def test_an_output_folder_that_cannot_be_made_is_named_with_its_key(tmp_path):
    make_output_dir(str(tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"OUTPUT_DIR .*file/run cannot be written to: Not a directory"):
        make_output_dir(str(tmp_path / "file" / "run"))


def test_a_second_training_in_the_same_folder_is_refused_and_a_later_one_is_not(tmp_path):
    refused = pytest.raises(UsageError, match="another training is writing to it; wait for its end, or name another")
    with locked_output_dir(str(tmp_path)), refused, locked_output_dir(str(tmp_path)):
        pass
    with locked_output_dir(str(tmp_path)):
        pass


def test_a_training_that_is_killed_leaves_no_lock(tmp_path):
    code = f"""
import os, signal, mdpr_fastreid
from mdpr_fastreid.engine.results import locked_output_dir
with locked_output_dir({str(tmp_path)!r}):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    with locked_output_dir(str(tmp_path)):
        pass
