"""VideoReID: losses in training, embeddings of images and clips in evaluation, folding, and settings it refuses."""

import pytest
import torch
import torch.nn.functional as F
from mdkt.meta_arch import evaluation
from small_mdkt import batch_of, config, gradients, model_of
from torch import nn
from vkd_values import RESULTS, TARGETS, inputs

from mdpr_fastreid.errors import SettingsError, UsageError
from mdpr_fastreid.inference import fold
from mdpr_fastreid.modeling import build_model
from mdpr_fastreid.modeling.losses import TripletLoss


def test_its_losses_are_cross_entropy_and_soft_margin_triplet_of_averages():
    model, batch = model_of("VideoReID", exact=True), batch_of()
    before = {key: value.clone() for key, value in batch.items()}
    readings = model.read(batch["clips"].double())
    losses = model({**batch, "clips": batch["clips"].double()})
    frames = torch.stack([model.backbone((clip - model.pixel_mean) / model.pixel_std).mean(dim=(2, 3))
                          for clip in batch["clips"].double().unbind(1)], dim=1)  # fmt: skip
    assert frames.shape == readings.frames.shape == (6, 4, 512)
    assert losses.keys() == {"loss_cls", "loss_triplet"}
    expected = F.cross_entropy(readings.logits, batch["targets"])
    torch.testing.assert_close(losses["loss_cls"], expected, atol=1e-9, rtol=0)
    expected = TripletLoss(margin=0)(readings.frames.mean(dim=1), batch["targets"])
    torch.testing.assert_close(losses["loss_triplet"], expected, atol=1e-9, rtol=0)
    assert all(torch.equal(batch[key], before[key]) for key in batch)


def test_its_two_losses_are_vkds_in_the_total_of_stage_2():
    golden = RESULTS["stage2_total"]
    (_, logits), (_, embedding) = inputs("logits"), inputs("emb")
    model = model_of("VideoReID")
    model.read = lambda clips: evaluation_readings(embedding, logits)
    _, losses = model.learn(torch.empty(9, 1), TARGETS)
    assert losses["loss_cls"].item() == pytest.approx(golden["cross_entropy"], abs=1e-9)
    assert losses["loss_triplet"].item() == pytest.approx(golden["triplet"], abs=1e-9)


def evaluation_readings(embedding, logits):
    from mdkt.heads import ClipReadings

    return ClipReadings(embedding[:, None], embedding, logits)


def test_an_image_is_a_clip_of_one_frame_and_a_clip_the_mean_of_its_images():
    model, batch = model_of("VideoReID").eval(), batch_of()
    with torch.no_grad():
        outputs = model(batch)
        assert outputs.keys() == {"image", "clip"}
        assert torch.equal(outputs["image"], model(batch["images"]))
        of_images = torch.stack([model(frames) for frames in batch["clips"].unbind(1)], dim=1).mean(dim=1)
        torch.testing.assert_close(outputs["clip"], of_images, atol=1e-5, rtol=1e-5)
        assert torch.equal(outputs["clip"], model(batch["clips"]))
        alone = model(batch["images"][:, None])
    torch.testing.assert_close(alone, outputs["image"], atol=1e-5, rtol=1e-5)


def test_a_long_tracklet_goes_through_the_network_in_blocks(monkeypatch):
    model, batch = model_of("VideoReID").eval(), batch_of(frames=5)
    seen = []
    model.backbone.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    with torch.no_grad():
        expected = model(batch["clips"])
        monkeypatch.setattr(evaluation, "FRAMES_AT_ONCE", 7)
        found = model(batch["clips"])
    assert seen == [30, 7, 7, 7, 7, 2]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_it_trains_on_images_as_clips_of_one_frame():
    model, batch = model_of("VideoReID"), batch_of()
    clips = {"clips": batch["images"][:, None], "targets": batch["targets"]}
    images = {key: batch[key] for key in ("images", "targets")}
    expected, found = model(clips), model(images)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    found = model({"images": clips["clips"], "targets": batch["targets"]})
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_precise_bns_targets_are_any_identity():
    batch = batch_of()
    batch["targets"].fill_(-1)
    with torch.no_grad():
        assert all(loss.isfinite() for loss in model_of("VideoReID")(batch).values())
    assert (batch["targets"] == -1).all()


def test_the_last_block_has_no_activation_unless_it_is_asked_for():
    def smallest(*overrides):
        model = model_of("VideoReID", *overrides)
        last = model.backbone.layer4[-1]
        return type(last.relu), model.backbone(model.pixels(batch_of()["images"])).min().item()

    kind, value = smallest()
    assert kind is nn.Identity and value < 0
    kind, value = smallest("MDKT.LAST_BLOCK_RELU", True)
    assert kind is nn.ReLU and value == 0


def test_any_backbone_serves_and_says_how_wide_its_map_is():
    osnet = ("MODEL.BACKBONE.NAME", "build_osnet_backbone", "MODEL.BACKBONE.DEPTH", "x0_25")
    model = model_of("VideoReID", *osnet, "MDKT.LAST_BLOCK_RELU", True, "MODEL.BACKBONE.FEAT_DIM", 77)
    assert model.heads.classifier.weight.shape == (3, 128)
    assert model(batch_of())["loss_cls"].isfinite()
    vit = ("MODEL.BACKBONE.NAME", "build_timm_backbone", "MODEL.BACKBONE.TIMM.MODEL", "vit_tiny_patch16_224")
    model = model_of("VideoReID", *vit, "MDKT.LAST_BLOCK_RELU", True)
    assert model.heads.classifier.weight.shape == (3, 192)
    assert model(batch_of())["loss_cls"].isfinite()


@pytest.mark.parametrize(("left_out", "kept"), [("CE", "loss_triplet"), ("TRI", "loss_cls")])
def test_a_loss_of_weight_0_is_left_out_and_every_parameter_that_is_trained_gets_a_gradient(left_out, kept):
    model = model_of("VideoReID", f"MDKT.{left_out}.SCALE", 0.0)
    losses = model(batch_of())
    assert losses.keys() == {kept}
    assert gradients(model, losses).keys() == {name for name, p in model.named_parameters() if p.requires_grad}
    assert ("heads.classifier.weight" in gradients(model, model(batch_of()))) == (left_out == "TRI")


def test_pairings_say_what_is_compared():
    only_images = model_of("VideoReID", "MDKT.PAIRINGS", ("I2I",), "INPUT.FIELDS", ()).eval()
    images = {key: value for key, value in batch_of().items() if key != "clips"}
    assert only_images.pairings == {"I2I": ("image", "image")}
    assert only_images(images).keys() == {"image"}
    clips = model_of("VideoReID", "MDKT.PAIRINGS", ("V2V",)).eval()
    assert clips(batch_of()).keys() == {"clip"}
    with pytest.raises(UsageError, match="I2V, V2V need batches with clips, which this one has not"):
        model_of("VideoReID").eval()(images)


@pytest.mark.parametrize("pairings", [("I2V", "V2V"), ("I2I",)])
def test_folded_it_gives_the_same_embeddings(pairings):
    model = model_of("VideoReID", "MDKT.PAIRINGS", pairings)
    with torch.no_grad():
        for seed in range(3):
            model(batch_of(seed=seed))
        expected = model.eval()(batch_of())
        network = fold(model)
        found = network(batch_of())
        torch.testing.assert_close(network(batch_of()["images"]), model(batch_of()["images"]), atol=1e-3, rtol=1e-3)
        half = fold(model, torch.float16)
        of_half = half(batch_of())
    assert half.network.pixels.mean.dtype == torch.float32
    assert half.network.backbone[1].conv1.weight.dtype == torch.float16
    assert found.keys() == expected.keys() and network.pairings == model.pairings
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=1e-3, rtol=1e-3)
        assert F.cosine_similarity(of_half[name], expected[name]).min() > 0.9


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("MODEL.HEADS.NAME", "EmbeddingHead"), "averages over frames, and MODEL.HEADS.NAME EmbeddingHead does not"),
        (("MDKT.CE.SCALE", 0.0, "MDKT.TRI.SCALE", 0.0), "are both 0: nothing is learnt"),
        (("INPUT.FIELDS", ()), 'I2V compares clips; INPUT.FIELDS \\(\\) has none: set INPUT.FIELDS \\("clip",\\)'),
        (("MDKT.PAIRINGS", ("I2V", "I2V")), "names a pairing twice"),
        (("MDKT.PAIRINGS", ("I3V",)), "MODEL.MDKT.PAIRINGS must be a list of 1 or more values"),
        (("MODEL.BACKBONE.NAME", "build_osnet_backbone", "MODEL.BACKBONE.DEPTH", "x0_25"), "set it to True"),
    ],
)
def test_settings_that_cannot_be_are_one_line(overrides, message):
    with pytest.raises(SettingsError, match=message) as error:
        build_model(config("VideoReID", *overrides))
    assert "\n" not in str(error.value)


def test_a_training_batch_without_clips_or_targets_is_an_error():
    with pytest.raises(ValueError, match="VideoReID in training mode needs a batch with 'targets' and 'clips'"):
        model_of("VideoReID")({"clips": batch_of()["clips"]})
    with pytest.raises(ValueError, match="needs a batch"):
        model_of("VideoReID")(batch_of()["images"])
