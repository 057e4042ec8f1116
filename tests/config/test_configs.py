"""The configurations and the documented ablations."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from fastreid.config import get_cfg
from fastreid.modeling import build_model
from support.settings import small_config

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").rglob("*.yml"))
ABLATIONS = re.findall(r"^\| (.+?) \| `(.+)` \|$", (ROOT / "docs/how-to/ablations.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT / "configs")))
def test_every_configuration_builds_a_model(path):
    cfg = get_cfg()
    cfg.merge_from_file(str(path))
    cfg.merge_from_list(["MODEL.BACKBONE.PRETRAIN", False, "MODEL.DEVICE", "meta", "MODEL.HEADS.NUM_CLASSES", 4])
    with torch.device("meta"):
        assert build_model(cfg) is not None


def test_the_data_sets_of_the_papers_and_three_backbones_have_a_configuration():
    names = {path.stem for path in (ROOT / "configs" / "MDPR").glob("*.yml")}
    data, backbones = ("duke", "market1501", "msmt17", "occduke", "synergyreid"), ("r50", "r50-ibn", "r101-ibn")
    assert {f"{d}_{b}" for d in data for b in backbones} <= names
    for name in names:
        cfg = get_cfg()
        cfg.merge_from_file(str(ROOT / "configs" / "MDPR" / f"{name}.yml"))
        backbone = cfg.MODEL.BACKBONE
        suffix = f"r{backbone.DEPTH.rstrip('x')}{'-ibn' if backbone.WITH_IBN else ''}"
        assert name.endswith(f"_{suffix}")
        assert name in cfg.OUTPUT_DIR


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
