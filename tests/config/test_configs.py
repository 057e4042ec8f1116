"""The configurations and the documented ablations."""

import re
import shlex
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from fastreid.config import get_cfg
from fastreid.engine.hooks import LRScheduler
from fastreid.modeling import build_model
from support.settings import small_config

from mdpr_fastreid.bench.cost import multiply_adds
from mdpr_fastreid.config import read_config
from mdpr_fastreid.engine.schedules import build_schedules

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").rglob("*.yml"))
ABLATIONS = re.findall(r"^\| (.+?) \| `(.+)` \|$", (ROOT / "docs/how-to/ablations.md").read_text(), re.MULTILINE)


def _different_models():
    """A configuration of each model: many differ in their data and their schedule only."""
    by_model = {}
    for path in CONFIGS:
        cfg = get_cfg()
        cfg.merge_from_file(str(path))
        cfg.merge_from_list(["MODEL.BACKBONE.PRETRAIN", False, "MODEL.DEVICE", "meta", "MODEL.HEADS.NUM_CLASSES", 4])
        cfg.MODEL.BACKBONE.PRETRAIN_PATH = ""
        by_model.setdefault((cfg.MODEL.dump(), str(cfg.INPUT.SIZE_TRAIN), str(cfg.INPUT.SIZE_TEST)), (path, cfg))
    return [pytest.param(cfg, id=str(path.relative_to(ROOT / "configs"))) for path, cfg in by_model.values()]


@pytest.mark.parametrize("cfg", _different_models())
def test_every_configuration_builds_a_model(cfg):
    with torch.device("meta"):
        assert build_model(cfg) is not None


def test_the_data_sets_of_the_papers_and_three_backbones_have_a_configuration():
    names = {path.stem for path in (ROOT / "configs" / "MDPR").glob("*.yml")}
    data, backbones = ("duke", "market1501", "msmt17", "occduke", "synergyreid"), ("r50", "r50-ibn", "r101-ibn")
    assert {f"{d}_{b}" for d in data for b in backbones} <= names
    for name in names:
        cfg = get_cfg()
        cfg.merge_from_file(str(ROOT / "configs" / "MDPR" / f"{name}.yml"))
        assert name.removesuffix("_plus").endswith(f"_{backbone_in_names(cfg)}")
        assert name in cfg.OUTPUT_DIR


def test_plus_is_mdpr_with_wide_embeddings_and_a_cheap_fusion_at_a_cost_near_mdprs():
    def read(name):
        return read_config(
            str(ROOT / f"configs/MDPR/{name}.yml"), ["MODEL.DEVICE", "meta", "MODEL.HEADS.NUM_CLASSES", 4]
        )

    mdpr, plus = read("synthreid_r18"), read("synthreid_r18_plus")
    cost = [multiply_adds(build_model(cfg), tuple(cfg.INPUT.SIZE_TEST)) for cfg in (mdpr, plus)]
    assert cost[1] < 1.15 * cost[0]
    mdpr.OUTPUT_DIR = plus.OUTPUT_DIR
    mdpr.MODEL.MDPR.EMBEDDING_DIM, mdpr.MODEL.MDPR.FUSION.KIND = 512, "depthwise"
    assert mdpr == plus


TIMM_IN_NAMES = {
    **{f"solider_swin_{size}": f"solider-swin-{size[0]}" for size in ("tiny", "small", "base")},
    **{"vit_base_patch16_224": "vit-b", "vit_tiny_patch16_224": "vit-t", "swin_tiny_patch4_window7_224": "swin-xt"},
    **{"convnext_atto": "convnext-atto", "mobilenetv4_conv_small": "mobilenetv4-s"},
}
"""What names of configs call a model of timm's, or of ours."""


def backbone_in_names(cfg):
    backbone = cfg.MODEL.BACKBONE
    if backbone.NAME == "build_timm_backbone":
        return TIMM_IN_NAMES[backbone.TIMM.MODEL]
    return f"r{backbone.DEPTH.rstrip('x')}{'-ibn' if backbone.WITH_IBN else ''}"


def test_soliders_swin_and_a_vision_transformer_have_a_configuration_on_each_of_four_data_sets():
    names = {path.stem for path in (ROOT / "configs" / "MDPR").glob("*.yml")}
    data, backbones = ("duke", "market1501", "msmt17", "occduke"), [f"solider-swin-{size}" for size in "tsb"]
    assert {f"{d}_{b}" for d in data for b in (*backbones, "vit-b")} <= names


PUBLISHED = {
    # lr, its floor, epochs of warm-up, epochs, optimizer, smoothing, margin, size
    "solider-t": (8e-4, 1.6e-6, 20, 120, "SGD", 0.0, 0.0, [384, 128]),
    "solider-s": (8e-4, 1.6e-6, 20, 120, "SGD", 0.0, 0.0, [384, 128]),
    "solider-b": (8e-4, 1.6e-6, 20, 120, "SGD", 0.0, 0.0, [384, 128]),
    "personvit-s": (4e-4, 8e-7, 20, 120, "SGD", 0.0, 0.0, [256, 128]),
    "personvit-b": (4e-4, 8e-7, 20, 120, "SGD", 0.0, 0.0, [256, 128]),
    "clipreid-b": (5e-6, None, 10, 60, "Adam", 0.1, 0.3, [256, 128]),
}
ITERATIONS = {"market1501": 12_936 // 64, "msmt17": 30_248 // 64}


@pytest.mark.parametrize("data", ITERATIONS)
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_recipes_of_transformers_have_their_published_settings(name, data):
    cfg = get_cfg()
    cfg.merge_from_file(str(ROOT / "configs" / "Baselines" / f"{name}_{data}.yml"))
    lr, floor, warmup, epochs, optimizer, smoothing, margin, size = PUBLISHED[name]
    if data == "msmt17" and name in ("solider-s", "solider-b"):
        lr, floor = 2e-4, 4e-7
    solver, heads = cfg.SOLVER, cfg.MODEL.HEADS
    assert (lr, epochs, optimizer, 64) == (solver.BASE_LR, solver.MAX_EPOCH, solver.OPT, solver.IMS_PER_BATCH)
    if floor is not None:
        assert ("CosineAnnealingLR", floor) == (solver.SCHED, solver.ETA_MIN_LR)
        assert pytest.approx(0.002 * solver.BASE_LR) == solver.ETA_MIN_LR
    else:
        assert solver.SCHED == "MultiStepLR"
    assert warmup * ITERATIONS[data] == solver.WARMUP_ITERS
    assert {solver.WEIGHT_DECAY, solver.WEIGHT_DECAY_NORM, solver.WEIGHT_DECAY_BIAS} == {1e-4}
    assert (solver.BIAS_LR_FACTOR, cfg.DATALOADER.NUM_INSTANCE) == (2, 4)
    assert (smoothing, margin) == (cfg.MODEL.LOSSES.CE.EPSILON, cfg.MODEL.LOSSES.TRI.MARGIN)
    assert cfg.INPUT.SIZE_TRAIN == cfg.INPUT.SIZE_TEST == size
    assert {*cfg.MODEL.PIXEL_MEAN, *cfg.MODEL.PIXEL_STD, *cfg.INPUT.REA.VALUE} == {127.5}
    assert (heads.NECK_FEAT, heads.TEST_NECK_FEAT, heads.POOL_LAYER) == ("before", "before", "GlobalAvgPool")
    assert cfg.INPUT.FLIP.ENABLED and cfg.INPUT.PADDING.ENABLED and cfg.INPUT.REA.ENABLED


def test_the_rate_of_clip_reids_recipe_falls_after_30_and_50_epochs():
    cfg = get_cfg()
    cfg.merge_from_file(str(ROOT / "configs" / "Baselines" / "clipreid-b_market1501.yml"))
    parameter = torch.nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.Adam([{"params": [parameter], "lr": cfg.SOLVER.BASE_LR}])
    epoch_length = ITERATIONS["market1501"]
    hook = LRScheduler(optimizer, build_schedules(cfg, optimizer, epoch_length))
    storage = Namespace(put_scalar=lambda *_, **__: None)
    solver = {"warmup_iters": cfg.SOLVER.WARMUP_ITERS, "delay_epochs": cfg.SOLVER.DELAY_EPOCHS}
    hook.trainer = run = Namespace(iter=0, epoch=0, storage=storage, grad_scaler=None, **solver)
    hook.before_train()
    rates = []
    optimizer.step()
    for epoch in range(cfg.SOLVER.MAX_EPOCH):
        run.epoch = epoch
        for iteration in range(epoch * epoch_length, (epoch + 1) * epoch_length):
            run.iter = iteration
            hook.after_step()
        rates.append(optimizer.param_groups[0]["lr"])
        hook.after_epoch()
    for epochs, rate in ((rates[10:30], 5e-6), (rates[30:50], 5e-7), (rates[50:], 5e-8)):
        assert epochs == pytest.approx([rate] * len(epochs))


def test_the_base_configuration_has_the_published_settings():
    cfg = get_cfg()
    cfg.merge_from_file(str(ROOT / "configs" / "Base-MDPR.yml"))
    assert (cfg.INPUT.SIZE_TRAIN, cfg.INPUT.SIZE_TEST) == ([384, 192], [384, 192])
    assert (cfg.SOLVER.OPT, cfg.SOLVER.BASE_LR, cfg.SOLVER.WEIGHT_DECAY) == ("Adam", 3.5e-4, 5e-4)
    assert (cfg.SOLVER.SCHED, cfg.SOLVER.ETA_MIN_LR, cfg.SOLVER.DELAY_EPOCHS) == ("CosineAnnealingLR", 1e-7, 0)
    assert (cfg.SOLVER.WARMUP_ITERS, cfg.SOLVER.WARMUP_FACTOR) == (2000, 0.1)
    assert (cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE) == (60, 64, 16)
    assert cfg.INPUT.REA.ENABLED and cfg.INPUT.RPT.ENABLED and not cfg.INPUT.AUTOAUG.ENABLED
    heads, losses, mdpr = cfg.MODEL.HEADS, cfg.MODEL.LOSSES, cfg.MODEL.MDPR
    assert (heads.CLS_LAYER, heads.SCALE, heads.MARGIN, heads.NECK_FEAT) == ("CircleSoftmax", 64, 0.35, "after")
    assert (losses.CE.EPSILON, losses.TRI.MARGIN, losses.TRI.HARD_MINING) == (0.1, 0.05, True)
    assert (mdpr.EMBEDDING_DIM, mdpr.PARTS, mdpr.ATTENTION.MAPS, mdpr.ATTENTION.AREA_SCALE) == (512, 2, 2, 0.001)
    cfg.merge_from_file(str(ROOT / "configs" / "MDPR" / "synergyreid_r101-ibn.yml"))
    assert (cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.WARMUP_ITERS) == (40, 200)


@pytest.mark.parametrize("overrides", [o for _, o in ABLATIONS], ids=[title for title, _ in ABLATIONS])
def test_every_documented_ablation_builds_and_trains_a_step(overrides):
    cfg = small_config(*shlex.split(overrides))
    model = build_model(cfg).train()
    batch = {"images": torch.rand(4, 3, 96, 48) * 255, "targets": torch.arange(4) // 2}
    loss = sum(model(batch).values())
    loss.backward()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    before = model.backbone.trunk.conv1.weight.detach().clone()
    optimizer.step()
    assert loss.isfinite()
    assert not torch.equal(model.backbone.trunk.conv1.weight, before)
    with torch.no_grad():
        assert model.eval()(batch).isfinite().all()


def test_the_tables_name_every_ablation_of_the_paper():
    overrides = " ".join(o for _, o in ABLATIONS)
    for needed in [
        *(f"ATTENTION.MAPS {maps}" for maps in (1, 2, 3, 4)),
        *("ATTENTION.GUIDED False", "AREA_SCALE 0.01", "DISTILL.ENABLED False", "FUSION.ENABLED False"),
        *(f"INFERENCE_FEATURES \"('{name}',)\"" for name in ("hard_global", "hard_parts", "soft4", "soft3", "fusion")),
        *(f"BRANCHES \"('{branch}',)\"" for branch in ("hard", "soft")),
    ]:
        assert needed in overrides
