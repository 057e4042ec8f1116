"""MDPR as the student of a video network: what it reads, its own losses, distances of other scales, its export."""

import pytest
import torch
from mdkt.hand_over import student_weights
from mdkt.meta_arch import MDPRStudent
from small_mdkt import batch_of, config, gradients, model_of

from mdpr_fastreid.config import read_config
from mdpr_fastreid.errors import SettingsError, UsageError
from mdpr_fastreid.modeling import build_model
from mdpr_fastreid.weights import load_for_evaluation

IMAGE = ("MODEL.HEADS.NAME", "MDPRHead", "MODEL.HEADS.NECK_FEAT", "after", "MODEL.HEADS.CLS_LAYER", "CircleSoftmax")
MDPR = (*IMAGE, "MODEL.HEADS.SCALE", 64, "MODEL.HEADS.MARGIN", 0.35, "MODEL.MDPR.EMBEDDING_DIM", 8)
NORMALIZED = ("MDKT.PD.NORMALIZE", True, "MDKT.TCL.NORMALIZE", True)


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """What makes MDPR the student of a ResNet-18."""
    teacher = tmp_path_factory.mktemp("teacher") / "teacher.yml"
    teacher.write_text(config("VideoReID").dump())
    return ("MDKT.STUDENT", "MDPR", "MDKT.TEACHER_CONFIG", str(teacher), *MDPR, *NORMALIZED)


def test_what_it_reads_off_a_clip_is_the_mean_of_its_inference_vectors_and_of_its_fused_logits(words):
    student = model_of("MDKT", *words, exact=True).student
    clips, targets = batch_of()["clips"][:, :2].double(), batch_of()["targets"]
    readings, losses = student.learn(clips, targets)
    assert isinstance(student, MDPRStudent)
    assert readings.frames.shape == (6, 2, sum(student.feature_lengths().values()))
    torch.testing.assert_close(readings.embedding, readings.frames.mean(dim=1))
    fused = student.heads(student.perspectives(student.backbone(student.preprocess_image(clips.flatten(0, 1)),
                          student.heads.wanted_readings())), targets.repeat_interleave(2))  # fmt: skip
    expected = fused["heads"]["fusion"]["pred_class_logits"].unflatten(0, (6, 2)).mean(dim=1)
    torch.testing.assert_close(readings.logits, expected, atol=1e-9, rtol=1e-9)
    frames = {"images": clips.flatten(0, 1), "targets": targets.repeat_interleave(2)}
    assert student(frames).keys() == losses.keys()


def test_it_keeps_its_own_losses_and_learns_from_the_teacher(words):
    model = model_of("MDKT", *words)
    losses = model(batch_of())
    between = {"loss_mkd", "loss_pd", "loss_mtcl"}
    assert between | {"loss_cls_fusion", "loss_distillation", "loss_cls_teacher"} <= losses.keys()
    assert "loss_cls" not in losses
    found = gradients(model, {name: losses[name] for name in between})
    assert any(name.startswith("student.backbone") for name in found)
    losses = model(batch_of())
    assert gradients(model, losses).keys() == {name for name, p in model.named_parameters() if p.requires_grad}


def test_evaluated_it_gives_mdprs_vector_and_the_mean_over_a_clip(words, tmp_path):
    model, batch = model_of("MDKT", *words), batch_of()
    torch.save({"model": student_weights(model.state_dict())}, tmp_path / "student.pth")
    sizes = [*("INPUT.SIZE_TRAIN", [32, 16], "INPUT.SIZE_TEST", [32, 16]), "MODEL.DEVICE", "cpu"]
    backbone = ["MODEL.BACKBONE.DEPTH", "18x", "MODEL.BACKBONE.PRETRAIN", False, "MODEL.HEADS.NUM_CLASSES", 3]
    alone = build_model(
        read_config("", ["MODEL.META_ARCHITECTURE", "MDPR", *MDPR, *sizes, *backbone, "MODEL.BACKBONE.LAST_STRIDE", 1])
    )
    load_for_evaluation(alone, str(tmp_path / "student.pth"))
    with torch.no_grad():
        outputs = model.eval()(batch)
        assert torch.equal(outputs["image"], alone.eval()(batch["images"]))
        of_frames = torch.stack([alone(frames) for frames in batch["clips"].unbind(1)], dim=1)
    torch.testing.assert_close(outputs["clip"], of_frames.mean(dim=1), atol=1e-5, rtol=1e-4)


def test_it_starts_as_it_was_built_and_the_teacher_from_stage_1(words, tmp_path):
    stage1 = model_of("VideoReID", seed=9)
    torch.save({"model": stage1.state_dict()}, tmp_path / "stage1.pth")
    model = model_of("MDKT", *words, seed=1)
    before = {name: value.clone() for name, value in model.student.state_dict().items()}
    model.prepare_training(config("MDKT", *words, "MDKT.TEACHER_WEIGHTS", str(tmp_path / "stage1.pth")))
    assert all(torch.equal(value, before[name]) for name, value in model.student.state_dict().items())
    assert torch.equal(model.teacher.backbone.conv1.weight, stage1.backbone.conv1.weight)


def test_what_mdpr_refuses_it_refuses(words):
    with pytest.raises(SettingsError, match="MODEL.MDPR.PARTS must be a whole number from 1 to 1024, got 0"):
        build_model(config("MDKT", *words, "MODEL.MDPR.PARTS", 0))
    with pytest.raises(SettingsError, match="needs MODEL.HEADS.NECK_FEAT after"):
        build_model(config("MDKT", *words, "MODEL.HEADS.NECK_FEAT", "before"))
    with pytest.raises(UsageError, match=r"config file nowhere.yml does not exist"):
        build_model(config("MDKT", *words, "MDKT.TEACHER_CONFIG", "nowhere.yml"))
