"""Every config of the project: read, checked, built at its size; schedules, and the stage-1 config of each."""

import pytest
import torch
from mdkt.settings import teacher_config_file
from small_mdkt import CONFIGS, PROJECT
from support.schedules import rates_of

from mdpr_fastreid.config import config_file, read_config
from mdpr_fastreid.modeling import build_model

FILES = sorted(path for path in CONFIGS.glob("*.yml") if not path.name.startswith("Base"))
TRANSFERS = [path for path in FILES if "teacher" not in path.name]


@pytest.mark.parametrize("config", FILES, ids=lambda path: path.stem)
def test_a_config_builds_a_model_that_embeds_images_of_its_size(config):
    off = ["MODEL.DEVICE", "meta", "MODEL.BACKBONE.PRETRAIN", False, "MODEL.HEADS.NUM_CLASSES", 10]
    cfg = read_config(config, off)
    with torch.device("meta"), torch.no_grad():
        model = build_model(cfg).eval()
        embedding = model(torch.empty(2, 3, *cfg.INPUT.SIZE_TEST))
    expected = {"r50": 2048, "r18": 512}[config.stem[-3:]]
    student = getattr(model, "student", model)
    assert embedding.shape == (2, sum(student.feature_lengths().values()) if "mdpr" in config.stem else expected)
    assert f"logs/mdkt/{config.stem}" == cfg.OUTPUT_DIR
    assert cfg.TEST.AP == "both" and not cfg.TEST.EVAL_UNTRAINED


@pytest.mark.parametrize("config", TRANSFERS, ids=lambda path: path.stem)
def test_stage_1_is_a_video_network_on_the_same_data_at_the_same_size(config):
    cfg = read_config(config)
    stage1 = read_config(teacher_config_file(cfg))
    assert (stage1.MODEL.META_ARCHITECTURE, cfg.MODEL.META_ARCHITECTURE) == ("VideoReID", "MDKT")
    for one, other in ((cfg.INPUT, stage1.INPUT), (cfg.DATASETS, stage1.DATASETS)):
        same = ("SIZE_TRAIN", "SIZE_TEST", "REA") if "SIZE_TRAIN" in one else ("NAMES", "TESTS")
        assert all(one[key] == other[key] for key in same)
    assert cfg.MODEL.MDKT.PAIRINGS == stage1.MODEL.MDKT.PAIRINGS
    assert (cfg.INPUT.CLIP.SAMPLING, stage1.INPUT.CLIP.SAMPLING) == ("multiview", "chunk")


def test_the_page_names_every_config():
    page = (PROJECT / "README.md").read_text()
    assert [config.name for config in FILES if config.name not in page] == []


def test_mdpr_by_these_losses_is_mdpr_and_differs_in_nothing_else():
    config = CONFIGS / "MDPR/synthreid_r18.yml"
    cfg, published = read_config(config), read_config(config_file("MDPR/synthreid_r18.yml"))
    assert published.MODEL.MDPR.DISTILL.KIND == "cosine"
    published.MODEL.MDPR.DISTILL.KIND, published.OUTPUT_DIR = "tcl+mkd", "logs/mdkt/MDPR/synthreid_r18"
    assert cfg == published
    assert "configs/MDPR/synthreid_r18.yml" in (PROJECT / "README.md").read_text()


SCHEDULES = {
    "mars_teacher_r50": (8298, 23_400, 7_800, 15_600),
    "mars_r50": (8298, 26_000, 15_600, 23_400),
    "dukevideo_teacher_r50": (2196, 26_100, 8_700, 17_400),
    "dukevideo_r50": (2196, 29_000, 17_400, 26_100),
    "market1501_teacher_r50": (12_936, 9_600, 6_400, 8_000),
    "market1501_r50": (12_936, 24_000, 14_400, 21_600),
    "veri_teacher_r50": (5000, 9_600, 6_400, 8_000),
    "veri_r50": (5000, 24_000, 14_400, 21_600),
}


@pytest.mark.parametrize("config", SCHEDULES)
def test_the_rate_starts_as_it_is_and_falls_to_a_tenth_twice_where_vkds_does(config):
    items, total, *falls = SCHEDULES[config]
    cfg = read_config(CONFIGS / f"{config}.yml")
    per_epoch = items // cfg.SOLVER.IMS_PER_BATCH
    rates = rates_of(cfg, per_epoch)
    assert len(rates) * per_epoch == pytest.approx(total, rel=0.01)
    assert rates[0] == 1e-4
    changes = [epoch for epoch in range(1, len(rates)) if rates[epoch] != rates[epoch - 1]]
    assert [epoch * per_epoch for epoch in changes] == pytest.approx(falls, rel=0.02)
    assert [rates[epoch] for epoch in changes] == pytest.approx([1e-5, 1e-6])
