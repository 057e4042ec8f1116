"""The stock toolbox, driven through the plugin: its methods, backbones and test options train and evaluate."""

import math
from collections import OrderedDict

import numpy as np
import pytest
import torch
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.engine import DefaultTrainer
from fastreid.utils.checkpoint import Checkpointer
from small_runs import assert_same_weights, small_config, trained, weights_of

from mdpr_fastreid.engine import Trainer

RESNET18 = ["MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.BACKBONE.DEPTH", "18x"]
RESNET18 += ["MODEL.BACKBONE.FEAT_DIM", 512]
RESNET50 = ["MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.BACKBONE.DEPTH", "50x"]
RESNET50 += ["MODEL.BACKBONE.FEAT_DIM", 2048]
# The settings of FastReID's own configs, which the wheel does not ship
BAGTRICKS = ["MODEL.LOSSES.CE.EPSILON", 0.1, "MODEL.LOSSES.TRI.HARD_MINING", True, "INPUT.PADDING.ENABLED", True]
BAGTRICKS += ["INPUT.REA.ENABLED", True, "SOLVER.AMP.ENABLED", True, "DATALOADER.NUM_INSTANCE", 4]
AGW = [*BAGTRICKS, "MODEL.BACKBONE.WITH_NL", True, "MODEL.HEADS.POOL_LAYER", "GeneralizedMeanPooling"]
AGW += ["MODEL.LOSSES.TRI.HARD_MINING", False, "MODEL.LOSSES.TRI.MARGIN", 0.0]
SBS = [*AGW, "MODEL.HEADS.NECK_FEAT", "after", "MODEL.HEADS.CLS_LAYER", "CircleSoftmax", "MODEL.HEADS.SCALE", 64]
SBS += ["MODEL.HEADS.MARGIN", 0.35, "INPUT.AUTOAUG.ENABLED", True, "INPUT.AUTOAUG.PROB", 0.1]
SBS += ["SOLVER.SCHED", "CosineAnnealingLR", "MODEL.FREEZE_LAYERS", ["backbone"], "SOLVER.FREEZE_ITERS", 1]
MGN = [*SBS, "MODEL.META_ARCHITECTURE", "MGN", "MODEL.HEADS.EMBEDDING_DIM", 32, "MODEL.BACKBONE.WITH_NL", False]

METHODS = {
    "bagtricks": [*RESNET18, *BAGTRICKS, "MODEL.BACKBONE.WITH_IBN", True],
    "AGW": [*RESNET50, *AGW],
    "SBS": [*RESNET50, *SBS],
    "MGN": [*RESNET50, *MGN, "INPUT.SIZE_TRAIN", [96, 32], "INPUT.SIZE_TEST", [96, 32]],
    "MoCo": ["MODEL.META_ARCHITECTURE", "MoCo", "MODEL.QUEUE_SIZE", 128],
    "Distiller": ["MODEL.META_ARCHITECTURE", "Distiller", "KD.EMA.ENABLED", True],
}
BACKBONES = {
    "OSNet": ["MODEL.BACKBONE.NAME", "build_osnet_backbone", "MODEL.BACKBONE.DEPTH", "x0_25"],
    "ResNeSt": ["MODEL.BACKBONE.NAME", "build_resnest_backbone", "MODEL.BACKBONE.DEPTH", "50x"],
    "ViT": ["MODEL.BACKBONE.NAME", "build_vit_backbone", "MODEL.BACKBONE.DEPTH", "small"],
}
BACKBONES["OSNet"] += ["MODEL.BACKBONE.FEAT_DIM", 128]
BACKBONES["ResNeSt"] += ["MODEL.BACKBONE.FEAT_DIM", 2048]
BACKBONES["ViT"] += ["MODEL.BACKBONE.FEAT_DIM", 768, "MODEL.HEADS.POOL_LAYER", "Identity"]


def short(tmp_path, *options):
    """One epoch of two iterations: enough for every layer, loss and hook to run once and again.

    PyTorch 2.6 to 2.15 reads memory that nobody wrote in a strided bfloat16 convolution to a map one column wide, on a
    CPU with AMX: with images 16 wide a loss is NaN now and then.
    """
    size = ["INPUT.SIZE_TRAIN", [64, 32], "INPUT.SIZE_TEST", [64, 32]]
    schedule = ["SOLVER.MAX_EPOCH", 1, "SOLVER.WARMUP_ITERS", 0, "TEST.EVAL_PERIOD", 1]
    return small_config(tmp_path, *size, *schedule, *options)


class TwoIterations(Trainer):
    def __init__(self, cfg):
        super().__init__(cfg)
        self.iters_per_epoch = 2
        self.max_iter = self.max_epoch * 2


@pytest.mark.parametrize("method", [*METHODS, *BACKBONES])
def test_it_trains_and_evaluates(tmp_path, method):
    options = {**METHODS, **BACKBONES}[method]
    cfg = short(tmp_path, "SOLVER.IMS_PER_BATCH", 16, "SEED", 0, *options)
    trainer = TwoIterations(cfg)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters() if p.requires_grad}
    trainer.train()
    results = trainer._last_eval_results
    assert list(results) == ["Rank-1", "Rank-5", "Rank-10", "mAP", "mINP", "metric"]
    assert all(0 <= value <= 100 for value in results.values())
    moved = [not torch.equal(p, before[name]) for name, p in trainer.model.named_parameters() if name in before]
    assert sum(moved) > 0.9 * len(moved)
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    """A trained network, whose weights the tests of evaluation share."""
    folder = tmp_path_factory.mktemp("small-run")
    trainer = trained(small_config(folder, "SEED", 1))
    return trainer, folder


TEST_OPTIONS = {
    "euclidean": ["TEST.METRIC", "euclidean"],
    "cosine": ["TEST.METRIC", "cosine"],
    "flip": ["TEST.FLIP.ENABLED", True],
    "query expansion": ["TEST.AQE.ENABLED", True, "TEST.AQE.QE_K", 3],
    "re-ranking": ["TEST.RERANK.ENABLED", True, "TEST.RERANK.K1", 8, "TEST.RERANK.K2", 3],
    "re-ranking euclidean": ["TEST.RERANK.ENABLED", True, "TEST.METRIC", "euclidean"],
    "ROC": ["TEST.ROC.ENABLED", True],
    "all": ["TEST.FLIP.ENABLED", True, "TEST.AQE.ENABLED", True, "TEST.RERANK.ENABLED", True, "TEST.ROC.ENABLED", True],
}


@pytest.mark.parametrize("option", TEST_OPTIONS)
def test_every_test_option_gives_metrics_in_their_range(small_run, option):
    trainer, folder = small_run
    cfg = small_config(folder, *TEST_OPTIONS[option])
    results = Trainer.test(cfg, trainer.model)
    assert {"Rank-1", "mAP", "mINP", "metric"} <= results.keys()
    assert ("TPR@FPR=1e-02" in results) == cfg.TEST.ROC.ENABLED
    assert all(0 <= value <= 100 and math.isfinite(value) for value in results.values())


def test_evaluation_options_change_the_ranking(small_run):
    trainer, folder = small_run
    maps = {
        name: Trainer.test(small_config(folder, *TEST_OPTIONS[name]), trainer.model)["mAP"]
        for name in ("cosine", "flip", "query expansion", "re-ranking")
    }
    assert len({round(float(value), 6) for value in maps.values()}) == len(maps)


def test_jaccard_distance_alone_ranks_too(small_run):
    trainer, folder = small_run
    cfg = small_config(folder, "TEST.METRIC", "jaccard")
    assert 0 <= Trainer.test(cfg, trainer.model)["mAP"] <= 100


def test_evaluating_the_saved_weights_alone_repeats_the_results(small_run):
    trainer, folder = small_run
    cfg = small_config(folder, "MODEL.HEADS.NUM_CLASSES", 16)
    model = Trainer.build_model(cfg)
    Checkpointer(model).load(str(folder / "model_final.pth"))
    repeated = Trainer.test(cfg, model)
    assert repeated == pytest.approx(trainer._last_eval_results)


def test_several_test_sets_are_evaluated_each(tmp_path):
    sets = ("SynthReIDTiny", "SynthReIDTinyAgain")
    again = type(sets[1], (DATASET_REGISTRY.get(sets[0]),), {})
    DATASET_REGISTRY._do_register(sets[1], again)
    try:
        trainer = trained(small_config(tmp_path, "DATASETS.TESTS", sets, "SOLVER.MAX_EPOCH", 1, "TEST.EVAL_PERIOD", 1))
    finally:
        del DATASET_REGISTRY._obj_map[sets[1]]
    first, second = (trainer._last_eval_results[name] for name in sets)
    assert isinstance(first, OrderedDict)
    assert first == second
    assert torch.load(tmp_path / "model_final.pth", weights_only=True)["metric"] == pytest.approx(first["metric"])


def test_precise_bn_sets_the_statistics_of_the_batches_it_sees(tmp_path):
    options = ["TEST.PRECISE_BN.ENABLED", True, "SOLVER.MAX_EPOCH", 1, "SEED", 0, "TEST.EVAL_PERIOD", 0]
    trained(small_config(tmp_path / "precise", *options))
    trained(small_config(tmp_path / "plain", *options, "TEST.PRECISE_BN.ENABLED", False))
    precise, plain = (weights_of(tmp_path / name / "model_final.pth") for name in ("precise", "plain"))
    parameters = [name for name in plain if "running" not in name and "tracked" not in name]
    assert_same_weights({k: precise[k] for k in parameters}, {k: plain[k] for k in parameters})
    assert not torch.equal(precise["backbone.1.running_mean"], plain["backbone.1.running_mean"])


@pytest.mark.parametrize("trainer_class", [Trainer, DefaultTrainer])
def test_a_resumed_run_trains_the_epochs_that_are_left(tmp_path, trainer_class):
    trained(small_config(tmp_path, "SOLVER.MAX_EPOCH", 1, "TEST.EVAL_PERIOD", 1), trainer_class=trainer_class)
    trainer = trainer_class(small_config(tmp_path, "SOLVER.MAX_EPOCH", 3, "TEST.EVAL_PERIOD", 3))
    trainer.resume_or_load(resume=True)
    assert trainer.start_epoch == 1
    assert "mAP" in trainer.train()
    assert trainer.iter == 12
    assert torch.load(tmp_path / "model_final.pth", weights_only=True)["epoch"] == 2


def test_training_learns(tmp_path):
    """Weights that only move would pass everything else here."""
    options = ["SEED", 0, "SOLVER.MAX_EPOCH", 12, "SOLVER.BASE_LR", 0.01, "TEST.EVAL_PERIOD", 12]
    trainer = Trainer(small_config(tmp_path, *options, "SOLVER.CHECKPOINT_PERIOD", 12))
    before = Trainer.test(trainer.cfg, trainer.model)["mAP"]
    trainer.train()
    losses = [value for value, _ in trainer.storage.history("loss_cls").values()]
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:8])
    assert trainer._last_eval_results["mAP"] > before
