"""Runs with a SEED: the same twice, the same when resumed, whatever the sampler."""

import pytest
import torch
from small_runs import assert_same_weights, small_config, trained, weights_of
from support.killed_runs import run_killed_and_resumed
from support.settings import SINGLE_BRANCH
from support.settings import small_config as mdpr_config

from mdpr_fastreid.engine import Trainer
from mdpr_fastreid.engine.seeding import seed_generators

SAMPLERS = [
    ["TrainingSampler"],
    ["NaiveIdentitySampler"],
    ["BalancedIdentitySampler"],
    ["ImbalancedDatasetSampler"],
    ["SetReWeightSampler", "DATALOADER.SET_WEIGHT", [1] * 6, "SOLVER.IMS_PER_BATCH", 48],
]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: sampler[0])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path, sampler):
    options = ["SEED", 7, "SOLVER.MAX_EPOCH", 3, "DATALOADER.SAMPLER_TRAIN", *sampler]
    options += ["INPUT.RPT.ENABLED", True, "INPUT.REA.ENABLED", True, "TEST.EVAL_PERIOD", 0]
    trained(small_config(tmp_path / "whole", *options))
    run_killed_and_resumed(small_config(tmp_path / "killed", *options), iteration=6)
    assert_same_weights(weights_of(tmp_path / "whole/model_final.pth"), weights_of(tmp_path / "killed/model_final.pth"))


@pytest.mark.filterwarnings("ignore:This overload of add_")
def test_a_resumed_run_with_workers_precise_bn_and_frozen_layers_ends_with_the_same_weights(tmp_path):
    options = ["SEED", 3, "SOLVER.MAX_EPOCH", 3, "DATALOADER.NUM_WORKERS", 2, "TEST.PRECISE_BN.ENABLED", True]
    options += ["MODEL.FREEZE_LAYERS", ["backbone"], "SOLVER.FREEZE_ITERS", 10, "TEST.EVAL_PERIOD", 1]
    options += ["INPUT.RPT.ENABLED", True, "SOLVER.OPT", "Lamb", "SOLVER.SCHED", "CosineAnnealingLR"]
    trained(small_config(tmp_path / "whole", *options))
    run_killed_and_resumed(small_config(tmp_path / "killed", *options), iteration=9)
    assert_same_weights(weights_of(tmp_path / "whole/model_final.pth"), weights_of(tmp_path / "killed/model_final.pth"))


def test_a_resumed_run_of_mdpr_that_saves_time_and_memory_ends_with_the_same_weights(tmp_path):
    switches = ["MODEL.MDPR.CHECKPOINT_STAGES", (3, 4), "MODEL.CHANNELS_LAST", True, "SOLVER.OPT", "SGD"]
    options = [
        *SINGLE_BRANCH["soft"],
        "SEED",
        3,
        "DATASETS.NAMES",
        ("SynthReIDTiny",),
        "DATASETS.TESTS",
        ("SynthReIDTiny",),
        *switches,
    ]
    options += ["INPUT.SIZE_TRAIN", [64, 32], "INPUT.SIZE_TEST", [64, 32], "DATALOADER.NUM_WORKERS", 0]
    options += ["MODEL.HEADS.NUM_CLASSES", 0]  # as many as there are
    options += ["SOLVER.IMS_PER_BATCH", 128, "SOLVER.MAX_EPOCH", 2, "SOLVER.CHECKPOINT_PERIOD", 1]
    options += ["SOLVER.WARMUP_ITERS", 0, "SOLVER.DELAY_EPOCHS", 0, "TEST.EVAL_PERIOD", 0]

    def cfg(name):
        return mdpr_config(*options, "OUTPUT_DIR", str(tmp_path / name))

    trained(cfg("whole"), trainer_class=Trainer)
    run_killed_and_resumed(cfg("killed"), 2, Trainer)
    assert_same_weights(weights_of(tmp_path / "whole/model_final.pth"), weights_of(tmp_path / "killed/model_final.pth"))


def test_a_resumed_distillation_ends_with_the_same_weights(tmp_path):
    options = ["SEED", 5, "SOLVER.MAX_EPOCH", 3, "MODEL.META_ARCHITECTURE", "Distiller", "KD.EMA.ENABLED", True]
    options += ["KD.EMA.MOMENTUM", 0.5, "TEST.EVAL_PERIOD", 0]
    trained(small_config(tmp_path / "whole", *options))
    run_killed_and_resumed(small_config(tmp_path / "killed", *options), iteration=6)
    assert_same_weights(weights_of(tmp_path / "whole/model_final.pth"), weights_of(tmp_path / "killed/model_final.pth"))


def test_two_seeds_train_differently_and_one_seed_the_same(tmp_path):
    options = ["SOLVER.MAX_EPOCH", 1, "TEST.EVAL_PERIOD", 0]
    for name, seed in [("a", 1), ("b", 1), ("c", 2)]:
        trained(small_config(tmp_path / name, "SEED", seed, *options))
    a, b, c = (weights_of(tmp_path / name / "model_final.pth") for name in "abc")
    assert_same_weights(a, b)
    assert not torch.equal(a["heads.weight"], c["heads.weight"])


def test_a_negative_seed_leaves_the_stock_randomness(tmp_path):
    options = ["SEED", -1, "SOLVER.MAX_EPOCH", 1, "TEST.EVAL_PERIOD", 0]
    for name in "ab":
        torch.manual_seed(0)
        trained(small_config(tmp_path / name, *options))
        assert (tmp_path / name / "model_final.pth").exists()
    a, b = (weights_of(tmp_path / name / "model_final.pth") for name in "ab")
    assert not torch.equal(a["heads.weight"], b["heads.weight"])


def test_every_epoch_and_rank_draws_numbers_of_its_own():
    drawn = set()
    for epoch in (-1, 0, 1):
        for rank in (0, 1):
            seed_generators(5, epoch, rank)
            drawn.add(torch.rand(()).item())
    assert len(drawn) == 6
