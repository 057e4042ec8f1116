"""``MODEL.HEADS.TEST_NECK_FEAT before``: the pooled vector in evaluation, folded, exported and in ``ReID``."""

import json

import pytest
import torch
from fastreid.config import get_cfg
from fastreid.modeling import build_model
from fastreid.utils.events import EventStorage
from support.folding import with_random_batch_norms
from support.settings import small_config
from support.timm_families import timm_baseline_config

from mdpr_fastreid import ReID
from mdpr_fastreid.engine.evaluation_network import evaluation_network
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.inference import fold, load
from mdpr_fastreid.inference.export import export, metadata

KEY = "MODEL.HEADS.TEST_NECK_FEAT"
IMAGES = torch.rand(3, 3, 64, 32, generator=torch.Generator().manual_seed(0)) * 255


def config(*overrides):
    cfg = get_cfg()
    cfg.merge_from_file("configs/Baselines/Base-BoT.yml")
    cfg.merge_from_list(
        [
            *("MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", False, "MODEL.BACKBONE.DEPTH", "18x"),
            *("MODEL.BACKBONE.FEAT_DIM", 512, "MODEL.HEADS.NUM_CLASSES", 4),
            *("INPUT.SIZE_TRAIN", [64, 32], "INPUT.SIZE_TEST", [64, 32], *overrides),
        ]
    )
    return cfg


def model(*overrides):
    torch.manual_seed(0)
    return with_random_batch_norms(build_model(config(*overrides)))


def pooled(one):
    """By hand: the backbone's map, and its mean."""
    return one.backbone(one.preprocess_image(IMAGES)).mean((2, 3))


@pytest.mark.parametrize("overrides", [[], ["MODEL.HEADS.EMBEDDING_DIM", 8]])
@torch.no_grad()
def test_evaluation_gives_the_pooled_vector_and_by_default_the_one_behind_the_neck(overrides):
    before, after = model(KEY, "before", *overrides), model(*overrides)
    torch.testing.assert_close(before(IMAGES), pooled(before))
    torch.testing.assert_close(after(IMAGES), after.heads.bottleneck(pooled(after)[..., None, None])[..., 0, 0])
    assert before(IMAGES).shape == (3, 512)


def test_both_have_the_same_weights_and_train_alike():
    before, after = (model(*overrides).train() for overrides in ([KEY, "before"], []))
    before.load_state_dict(after.state_dict(), strict=True)
    batch = {"images": IMAGES[:2].repeat(2, 1, 1, 1), "targets": torch.arange(4) // 2}
    with EventStorage():
        losses = [one(batch) for one in (before, after)]
    assert losses[0].keys() == losses[1].keys()
    assert all(torch.equal(losses[0][name], losses[1][name]) for name in losses[0])


@pytest.mark.parametrize("overrides", [[], ["MODEL.HEADS.EMBEDDING_DIM", 8]])
@torch.no_grad()
def test_folded_it_is_the_same_and_the_neck_is_gone(overrides):
    one = model(KEY, "before", *overrides)
    folded = fold(one)
    torch.testing.assert_close(folded(IMAGES), one(IMAGES), rtol=1e-4, atol=1e-4)
    assert folded.features == {"before_neck": 512}, "a gallery of the other vector is another model's"
    assert len(folded.network.heads.bottleneck) == 0
    assert fold(model()).features == {"features": 512}


@torch.no_grad()
def test_evaluation_and_export_use_it(tmp_path):
    one, cfg = model(KEY, "before"), config(KEY, "before")
    torch.testing.assert_close(evaluation_network(cfg, one)(IMAGES), pooled(one), rtol=1e-4, atol=1e-4)
    network = fold(one, winograd=False)
    torch.save({"model": one.state_dict()}, tmp_path / "weights.pth")
    about = metadata(cfg, network, tmp_path / "weights.pth")
    assert json.loads(about["features"]) == {"before_neck": 512}
    export(network, tmp_path / "network.pt2", "torch-export", (64, 32), about)
    found = torch.export.load(tmp_path / "network.pt2").module()(IMAGES)
    torch.testing.assert_close(found, pooled(one), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_reid_and_load_use_it(tmp_path):
    one = model(KEY, "before")
    torch.save({"model": one.state_dict()}, tmp_path / "weights.pth")
    (tmp_path / "config.yaml").write_text(config(KEY, "before").dump())
    for folded in (True, False):
        found = load(tmp_path / "config.yaml", tmp_path / "weights.pth", folded=folded)(IMAGES.clone())
        torch.testing.assert_close(found, pooled(one), rtol=1e-4, atol=1e-4)
    reid = ReID.load(tmp_path / "config.yaml", tmp_path / "weights.pth")
    assert reid.embed(IMAGES.clone()).shape == (3, 512)


def test_a_transformers_class_token_is_given_as_it_is():
    cfg = timm_baseline_config("vit", KEY, "before")
    one = build_model(cfg).eval()
    with torch.no_grad():
        tokens = one.backbone.forward_features(one.preprocess_image(IMAGES))
        torch.testing.assert_close(one(IMAGES), tokens[:, 0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: small_config(KEY, "before"), "before is for MODEL.HEADS.NAME EmbeddingHead; MDPRHead says itself"),
        (lambda: config(KEY, "before", "MODEL.HEADS.NAME", "ClasHead"), "ClasHead says itself"),
        (lambda: config(KEY, "neck"), "must be after or before, not 'neck'"),
    ],
)
def test_what_it_is_not_for_is_one_line(make, message):
    with pytest.raises(UsageError, match=message):
        build_model(make())
