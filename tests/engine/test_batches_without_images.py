"""A training whose batches have clips and no images: steps, precise BN, progress, evaluation, resuming."""

from fastreid.modeling.meta_arch import META_ARCH_REGISTRY, Baseline
from small_runs import assert_same_weights, small_config, trained, weights_of

from mdpr_fastreid.data import build_train_loader
from mdpr_fastreid.data.build import training_set
from mdpr_fastreid.engine import Trainer

FRAMES = 2


class OfClips(Baseline):
    """Learns from the first frames of clips, and is evaluated on images."""

    def forward(self, batch):
        if not self.training:
            return super().forward(batch)
        assert "images" not in batch and batch["clips"].shape == (64, FRAMES, 3, 32, 16)
        return super().forward({"images": batch["clips"][:, 0], "targets": batch["targets"]})


META_ARCH_REGISTRY.register(OfClips)


class ClipsAlone:
    """A training set whose images, twice, are clips."""

    def __init__(self, images):
        self.images = images
        self.img_items, self.num_classes = images.img_items, images.num_classes

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        sample = self.images[index]
        return {"clips": sample.pop("images").expand(FRAMES, -1, -1, -1), **sample}


class ClipTrainer(Trainer):
    @classmethod
    def build_train_loader(cls, cfg):
        items = build_train_loader(cfg).dataset.img_items
        return build_train_loader(cfg, train_set=ClipsAlone(training_set(cfg, items)))


def config_of(folder, *overrides):
    options = ["MODEL.META_ARCHITECTURE", "OfClips", "SEED", 2]
    return small_config(folder, *options, *overrides)


def test_it_trains_is_evaluated_and_resumed(tmp_path):
    trainer = trained(config_of(tmp_path / "whole"), trainer_class=ClipTrainer)
    assert (trainer.iter, trainer.start_iter) == (8, 0)
    assert 0 < trainer._last_eval_results["mAP"] <= 100
    first = ClipTrainer(config_of(tmp_path / "part"))
    first.max_epoch = 1
    first.resume_or_load(resume=False)
    first.train()
    assert trained(config_of(tmp_path / "part"), resume=True, trainer_class=ClipTrainer).start_iter == 4
    assert_same_weights(*(weights_of(tmp_path / name / "model_final.pth") for name in ("whole", "part")))


def test_it_learns_what_it_would_from_the_same_images(tmp_path):
    trained(config_of(tmp_path / "clips"), trainer_class=ClipTrainer)
    trained(config_of(tmp_path / "images", "MODEL.META_ARCHITECTURE", "Baseline"))
    assert_same_weights(*(weights_of(tmp_path / name / "model_final.pth") for name in ("clips", "images")))


def test_precise_bn_takes_statistics_of_clips(tmp_path):
    for name, enabled in (("plain", False), ("precise", True)):
        trained(config_of(tmp_path / name, "TEST.PRECISE_BN.ENABLED", enabled), trainer_class=ClipTrainer)
    plain, precise = (weights_of(tmp_path / name / "model_final.pth") for name in ("plain", "precise"))
    changed = {name for name in plain if not plain[name].equal(precise[name])}
    assert changed >= {"backbone.1.running_mean", "backbone.1.running_var"}
    assert not any(name.endswith(("weight", "bias")) for name in changed)
