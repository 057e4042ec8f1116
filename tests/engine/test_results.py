"""What a run ends with."""

from collections import OrderedDict

import pytest
from small_runs import small_config, trained

from mdpr_fastreid.engine import Trainer, print_results
from mdpr_fastreid.engine.results import write_untrained_results


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


def test_several_test_sets_are_compared_each_with_itself(tmp_path, capsys):
    cfg = small_config(tmp_path, "TEST.EVAL_UNTRAINED", True)
    write_untrained_results(cfg, {"A": OrderedDict(mAP=5.0), "B": OrderedDict(mAP=4.0)})
    print_results(cfg, OrderedDict(A=OrderedDict(mAP=10.0), B=OrderedDict(mAP=10.0)))
    lines = [line for line in capsys.readouterr().out.splitlines() if "untrained" in line]
    assert [line.split(" (")[1] for line in lines] == ["2.0 times)", "2.5 times)"]
