"""Stock models are built away from a checkout, and leave the images of a batch as they are."""

import copy

import pytest
import torch
from fastreid.config import get_cfg
from fastreid.evaluation.evaluator import DatasetEvaluator, inference_on_dataset
from fastreid.modeling import build_model
from fastreid.modeling.backbones import build_backbone
from fastreid.utils.events import EventStorage
from small_runs import small_config

from mdpr_fastreid import compat, modeling
from mdpr_fastreid.compat import models
from mdpr_fastreid.compat.patching import State
from mdpr_fastreid.errors import SettingsError

BOTTLENECK = ["MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.BACKBONE.DEPTH", "50x"]
BOTTLENECK += ["MODEL.BACKBONE.FEAT_DIM", 2048, "MODEL.HEADS.EMBEDDING_DIM", 16]
ARCHITECTURES = {
    "Baseline": [],
    "MoCo": ["MODEL.QUEUE_SIZE", 16],
    "Distiller": ["KD.EMA.ENABLED", True],
    "MGN": [*BOTTLENECK, "INPUT.SIZE_TRAIN", [96, 32], "INPUT.SIZE_TEST", [96, 32]],
}


def build(tmp_path, architecture):
    options = ["MODEL.META_ARCHITECTURE", architecture, "MODEL.HEADS.NUM_CLASSES", 4]
    torch.manual_seed(0)
    return build_model(small_config(tmp_path, *options, *ARCHITECTURES[architecture]))


def random_batch(size=(96, 32)):
    return {"images": torch.rand(8, 3, *size) * 255, "targets": torch.arange(8) % 4, "camids": torch.zeros(8)}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_training_and_inference_leave_the_batch_as_it_was(tmp_path, architecture):
    model = build(tmp_path, architecture)
    batch = random_batch()
    before = copy.deepcopy(batch)
    with EventStorage():
        losses = model.train()(batch)
    with torch.no_grad():
        model.eval()(batch)
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(torch.equal(batch[key], before[key]) for key in before)


@pytest.mark.parametrize("architecture", ["Baseline", "MGN"])
def test_images_are_normalised_by_mean_and_deviation(tmp_path, architecture):
    model = build(tmp_path, architecture)
    images = torch.rand(2, 3, 4, 4) * 255
    expected = (images - torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1)) / torch.tensor(
        [58.395, 57.12, 57.375]
    ).view(1, 3, 1, 1)
    torch.testing.assert_close(model.preprocess_image({"images": images}), expected)
    torch.testing.assert_close(model.preprocess_image(images), expected)
    with pytest.raises(SettingsError, match=r"only clips, targets: INPUT\.CLIP\.WITH_IMAGE True"):
        model({"clips": images[None], "targets": torch.zeros(1)})
    with pytest.raises(TypeError, match="list"):
        model.preprocess_image([images])


def test_flip_testing_averages_the_features_of_both_views(tmp_path):
    class Kept(DatasetEvaluator):
        def process(self, inputs, outputs):
            self.features = outputs

        def evaluate(self):
            return {"features": self.features}

    class OneBatch(list):
        dataset = range(8)

    model = build(tmp_path, "Baseline").eval()
    batch = random_batch()
    with torch.no_grad():
        plain = model({"images": batch["images"].clone()})
        flipped = model({"images": batch["images"].flip(3)})
    found = inference_on_dataset(model, OneBatch([copy.deepcopy(batch)]), Kept(), flip_test=True)["features"]
    torch.testing.assert_close(found, (plain + flipped) / 2)


# Published sizes of RegNetX-200MF and RegNetY-200MF, less the classifier of 368 x 1000 weights and 1000 biases
SIZES = {"200x": 2_684_792 - 369_000, "200y": 3_162_996 - 369_000}


@pytest.mark.parametrize("depth", SIZES)
def test_regnet_is_built_with_its_published_settings_away_from_a_checkout(tmp_path, monkeypatch, depth):
    monkeypatch.chdir(tmp_path)
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.BACKBONE.NAME", "build_regnet_backbone", "MODEL.BACKBONE.DEPTH", depth])
    assert sum(p.numel() for p in build_backbone(cfg).parameters()) == SIZES[depth]


def test_a_regnet_has_no_settings_of_the_one_that_was_built_before(tmp_path):
    for depth in ("200y", "200x"):
        cfg = get_cfg()
        cfg.merge_from_list(["MODEL.BACKBONE.NAME", "build_regnet_backbone", "MODEL.BACKBONE.DEPTH", depth])
        assert sum(p.numel() for p in build_backbone(cfg).parameters()) == SIZES[depth]


def test_every_patch_is_applied():
    assert {compat.patches().state(patch) for patch in models.PATCHES} == {State.APPLIED}


def test_stock_callers_get_the_models_that_ours_get(tmp_path):
    cfg = small_config(tmp_path, "MODEL.HEADS.NUM_CLASSES", 4)
    torch.manual_seed(0)
    theirs = build_model(cfg)
    torch.manual_seed(0)
    ours = modeling.build_model(cfg)
    torch.manual_seed(0)
    stock = compat.stock("fastreid.modeling.meta_arch.build:build_model")(cfg)
    for name, value in stock.state_dict().items():
        assert torch.equal(theirs.state_dict()[name], value) and torch.equal(ours.state_dict()[name], value)
