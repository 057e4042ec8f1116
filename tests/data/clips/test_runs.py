"""Trainings and evaluations on clips: the same again, the same when resumed, mirrored as images are."""

import pytest
import torch
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from small_runs import assert_same_weights, small_config, trained, weights_of
from support.killed_runs import run_killed_and_resumed
from support.tracklets import tracklets
from torch import nn

from mdpr_fastreid.data import build_train_loader, start_epoch, training_set
from mdpr_fastreid.data.pipeline import FieldDataset
from mdpr_fastreid.data.transforms import build_transforms
from mdpr_fastreid.evaluation.inference import FlipAverage


@META_ARCH_REGISTRY.register()
class MeanColour(nn.Module):
    """Tells identities by the mean colours of the rows of a clip; it knows no images in training."""

    def __init__(self, cfg):
        super().__init__()
        self.classify = nn.Linear(3 * cfg.INPUT.SIZE_TRAIN[0], cfg.MODEL.HEADS.NUM_CLASSES)
        self.register_buffer("pixel_mean", torch.zeros(1), persistent=False)

    @property
    def device(self):
        return self.pixel_mean.device

    def forward(self, batch):
        features = (batch["clips"] / 255).mean(dim=(1, 4)).flatten(1)
        if not self.training:
            return features
        assert "images" not in batch
        return {"loss_cls": nn.functional.cross_entropy(self.classify(features), batch["targets"])}


def config(folder, *options):
    clips = ["INPUT.FIELDS", ("clip",), "INPUT.CLIP.FRAMES", 3, "INPUT.CLIP.TEST_FRAMES", 2, "INPUT.REA.ENABLED", True]
    clips += ["INPUT.CLIP.SAMPLING", "multiview", "INPUT.CLIP.CONSISTENT", False, "INPUT.CLIP.WITH_IMAGE", False]
    clips += ["INPUT.CLIP.FROM_IMAGES", True, "INPUT.RPT.ENABLED", True, "INPUT.PADDING.ENABLED", True]
    return small_config(folder, *clips, "MODEL.META_ARCHITECTURE", "MeanColour", *options)


def test_batches_follow_from_seed_and_workers(tmp_path):
    cfg = config(tmp_path, "DATALOADER.NUM_WORKERS", 2, "SOLVER.IMS_PER_BATCH", 8, "SEED", 1)
    items = tracklets(tmp_path, [5, 9, 4, 7] * 4)
    loader = build_train_loader(cfg, train_set=training_set(cfg, items))

    def epoch(number):
        torch.manual_seed(number)
        batches = start_epoch(loader, 1, number)
        return torch.cat([next(batches)["clips"] for _ in range(4)])

    first, second, again = epoch(0), epoch(1), epoch(0)
    assert torch.equal(first, again) and not torch.equal(first, second)
    loader.shutdown()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_on_clips_ends_with_the_weights_of_an_uninterrupted_one(tmp_path, workers):
    options = ["SEED", 7, "SOLVER.MAX_EPOCH", 3, "TEST.EVAL_PERIOD", 0, "DATALOADER.NUM_WORKERS", workers]
    trained(config(tmp_path / "whole", *options))
    run_killed_and_resumed(config(tmp_path / "killed", *options), iteration=6)
    assert_same_weights(weights_of(tmp_path / "whole/model_final.pth"), weights_of(tmp_path / "killed/model_final.pth"))


def test_a_training_on_clips_alone_is_evaluated_on_clips(tmp_path):
    trainer = trained(config(tmp_path, "SOLVER.MAX_EPOCH", 1, "TEST.EVAL_PERIOD", 1, "TEST.FLIP.ENABLED", True))
    assert trainer._last_eval_results["mAP"] > 0


def test_flipped_evaluation_mirrors_every_frame(tmp_path):
    cfg = config(tmp_path)
    dataset = FieldDataset(tracklets(tmp_path, [4]), build_transforms(cfg, is_train=False), relabel=False)
    batch = {key: value[None] for key, value in dataset[0].items() if key in ("images", "clips")}
    batch = {key: value + torch.rand(value.shape) for key, value in batch.items()}

    class Kept(nn.Module):
        def forward(self, batch):
            return {"images": batch["images"] * 1.0, "clips": batch["clips"] * 1.0}

    for key, value in FlipAverage(Kept())(batch).items():
        columns = range(value.shape[-1] - 1, -1, -1)
        mirrored = torch.stack([batch[key][..., column] for column in columns], dim=-1)
        assert torch.allclose(value, (batch[key] + mirrored) / 2) and not torch.equal(value, batch[key])
