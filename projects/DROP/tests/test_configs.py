"""Every config of the project: read, checked, built; and what training on unusual data says."""

import pytest
import torch
from small_drop import PROJECT, batch_of, small

from mdpr_fastreid.config import read_config
from mdpr_fastreid.modeling import build_model

CONFIGS = sorted(path for path in (PROJECT / "configs").glob("*.yml") if not path.name.startswith("Base"))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_config_builds_a_model_of_its_size(config):
    off = ["MODEL.DEVICE", "meta", "MODEL.BACKBONE.PRETRAIN", False, "MODEL.HEADS.NUM_CLASSES", 10]
    cfg = read_config(config, off)
    with torch.device("meta"), torch.no_grad():
        outputs = build_model(cfg).eval()(torch.empty(2, 3, *cfg.INPUT.SIZE_TEST))
    parts = {"pifpaf_eight": 8, "pifpaf_five_v": 5, "synthreid_four": 4}[cfg.INPUT.MASK.GROUPS]
    single = len(cfg.MODEL.DROP.TEST_EMBEDDINGS) - 1
    assert outputs["embeddings"].shape == (2, single + parts, cfg.MODEL.DROP.EMBEDDING_DIM)
    assert f"logs/drop/{config.stem}" == cfg.OUTPUT_DIR


def test_there_is_a_config_for_every_backbone_and_data_set_that_the_page_names():
    page = (PROJECT / "README.md").read_text()
    assert [config.name for config in CONFIGS if config.name not in page and "shared_features" not in config.name] == []


@pytest.mark.parametrize("shape", ["one image an identity", "one identity", "no part visible", "no mask known"])
def test_unusual_batches_cost_a_finite_loss_with_a_gradient(shape):
    batch = batch_of()
    if shape == "one image an identity":
        batch["targets"] = torch.arange(8)
    elif shape == "one identity":
        batch["targets"] = torch.zeros(8, dtype=torch.int64)
    else:
        batch["masks"] = torch.full_like(batch["masks"], 0 if shape == "no part visible" else 255)
    model = build_model(small("MODEL.DROP.PCT.BANK_FROM_ITER", 0)).train()
    for _ in range(3):  # the memory fills up
        losses = model(batch)
        model.zero_grad()
        sum(losses.values()).backward()
        assert all(value.isfinite() for value in losses.values())
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    if shape == "no mask known":
        assert losses["loss_parsing"] == 0


def test_a_memory_larger_than_the_training_set_is_filled_with_what_there_is():
    model = build_model(small("MODEL.DROP.PCT.BANK_SIZE", 1000, "MODEL.DROP.PCT.BANK_FROM_ITER", 0)).train()
    for seed in range(3):
        assert model(batch_of(seed=seed))["loss_pct"].isfinite()
    assert (model.heads.memory.targets >= 0).sum() == 24
