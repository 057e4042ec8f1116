"""From stage 1 to stage 2: what both networks start with, what is reset, and files that are refused."""

import subprocess
import sys

import pytest
import torch
from mdkt.hand_over import student_weights
from small_mdkt import PROJECT, batch_of, config, model_of, train_steps

from mdpr_fastreid.engine.optimizers import build_optimizer
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.weights import load_for_evaluation, start_from


@pytest.fixture(scope="module")
def stage1(tmp_path_factory):
    """A network of stage 1 after a few steps, and its checkpoint."""
    model = model_of("VideoReID", seed=7)
    train_steps(model, steps=3)
    path = tmp_path_factory.mktemp("stage1") / "model_final.pth"
    torch.save({"model": model.state_dict(), "epoch": 0}, path)
    return model.eval(), str(path)


def prepared(path, *overrides, seed=1, **kwargs):
    """A model of stage 2 that starts from a file; and the same before it did."""
    before = model_of("MDKT", *overrides, seed=seed).state_dict()
    model = model_of("MDKT", *overrides, seed=seed, **kwargs)
    model.prepare_training(config("MDKT", "MDKT.TEACHER_WEIGHTS", path, *overrides))
    return model, before


def changed(network, state):
    return {name for name, value in network.state_dict().items() if not torch.equal(value, state[name])}


RESET = ("backbone.layer4.", "heads.")


def test_the_teacher_gives_the_embeddings_of_stage_1_bit_for_bit(stage1):
    network, path = stage1
    model, _ = prepared(path)
    clips = batch_of(seed=9)["clips"]
    with torch.no_grad():
        assert torch.equal(model.eval().teacher(clips), network(clips))
    assert not changed(model.teacher, network.state_dict())


def test_in_the_student_exactly_stage_4_neck_and_classifier_are_as_they_were_built(stage1):
    network, path = stage1
    model, before = prepared(path)
    reset = {name for name in network.state_dict() if name.startswith(RESET)}
    state = model.student.state_dict()
    assert {name for name in state if torch.equal(state[name], before[f"student.{name}"])} >= reset
    differ = changed(model.student, network.state_dict())
    assert differ <= reset
    # All of it but the shift of the neck, which is 0 in any case
    assert reset - differ == {"heads.neck.bias"}
    heads = model.student.heads
    assert (heads.neck.weight == 1).all() and (heads.neck.running_var == 1).all() and not heads.neck.running_mean.any()
    assert heads.classifier.weight.std().item() == pytest.approx(0.001, rel=0.1)


@pytest.mark.parametrize("kept", [(), ("head",), ("layer4",)])
def test_what_is_reset_is_what_the_key_names(stage1, kept):
    network, path = stage1
    model, _ = prepared(path, "MDKT.RESET", kept)
    parts = {"layer4": "backbone.layer4.", "head": "heads."}
    differ = changed(model.student, network.state_dict())
    for name, prefix in parts.items():
        assert any(key.startswith(prefix) for key in differ) == (name in kept)
    assert all(key.startswith(tuple(parts.values())) for key in differ)


def test_stage_4_goes_back_to_the_pretrained_weights_and_statistics(stage1, tmp_path):
    _, path = stage1
    pretrained = tmp_path / "backbone.pth"
    backbone = model_of("VideoReID", seed=3).backbone
    for norm in (module for module in backbone.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        norm.running_mean.normal_()
    torch.save(backbone.state_dict(), pretrained)
    weights = ("MODEL.BACKBONE.PRETRAIN", True, "MODEL.BACKBONE.PRETRAIN_PATH", str(pretrained))
    model, _ = prepared(path, *weights)
    expected, found = backbone.layer4.state_dict(), model.student.backbone.layer4.state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert not torch.equal(model.student.backbone.layer3[0].conv1.weight, backbone.layer3[0].conv1.weight)


def test_without_pretrained_weights_stage_4_follows_from_the_seed(stage1):
    _, path = stage1
    one, same, other = (prepared(path, seed=seed)[0].student.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["backbone.layer4.0.conv1.weight"], other["backbone.layer4.0.conv1.weight"])


def test_it_changes_the_optimizers_flat_buffers_in_place(stage1):
    network, path = stage1
    cfg = config("MDKT", "MDKT.TEACHER_WEIGHTS", path)
    model = model_of("MDKT")
    _, parameters = build_optimizer(cfg, model)
    places = {name: p.data_ptr() for name, p in model.named_parameters()}
    model.prepare_training(cfg)
    parameters.assert_buffer_is_valid()
    assert places == {name: p.data_ptr() for name, p in model.named_parameters()}
    assert not changed(model.teacher, network.state_dict())


def test_the_seed_may_stand_in_the_files_name(stage1, tmp_path):
    network, path = stage1
    (tmp_path / "seed4.pth").symlink_to(path)
    model = model_of("MDKT")
    model.prepare_training(config("MDKT", "MDKT.TEACHER_WEIGHTS", str(tmp_path / "seed{seed}.pth"), "SEED", 4))
    assert not changed(model.teacher, network.state_dict())


def test_a_student_of_another_architecture_starts_as_it_was_built(stage1, tmp_path):
    network, path = stage1
    deeper = ("MODEL.BACKBONE.DEPTH", "34x", "MDKT.TEACHER_CONFIG", str(tmp_path / "teacher.yml"))
    (tmp_path / "teacher.yml").write_text(config("VideoReID").dump())
    model, before = prepared(path, *deeper)
    assert not changed(model.teacher, network.state_dict())
    assert not changed(model.student, {name.removeprefix("student."): value for name, value in before.items()})
    assert len(model.student.backbone.layer3) == 6 and len(model.teacher.backbone.layer3) == 2
    assert model(batch_of())["loss_mkd"].isfinite()


def test_the_student_alone_is_a_network_of_its_own(stage1, tmp_path):
    _, path = stage1
    model, _ = prepared(path)
    train_steps(model, steps=1)
    torch.save({"model": model.state_dict()}, tmp_path / "model_final.pth")
    exported = tmp_path / "student.pth"
    command = [sys.executable, PROJECT / "export_student.py", tmp_path / "model_final.pth", exported]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout) == (0, f"wrote {exported}\n"), done.stderr
    alone, again = model_of("VideoReID", seed=5), model_of("VideoReID", seed=6)
    load_for_evaluation(alone, str(exported))
    start_from(again, exported)
    with torch.no_grad():
        expected, found = model.eval()(batch_of()), alone.eval()(batch_of())
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not changed(again, alone.state_dict())
    with pytest.raises(UsageError, match="no weights of a student: give a checkpoint of stage 2"):
        student_weights(alone.state_dict())
    again = subprocess.run([*command[:2], exported, tmp_path / "no.pth"], capture_output=True, text=True, check=False)
    assert again.returncode == 2 and "student.pth: no weights of a student" in again.stderr


def test_a_teacher_of_other_identities_is_refused_in_a_line(stage1):
    _, path = stage1
    with pytest.raises(
        UsageError, match="a teacher of 3 identities, and this training set has 5: stage 1 has"
    ) as error:
        prepared(path, "MODEL.HEADS.NUM_CLASSES", 5)
    assert "\n" not in str(error.value) and path in str(error.value)


@pytest.mark.parametrize(
    ("then", "message"),
    [
        (("DATASETS.NAMES", ("MARS",)), r"trained with DATASETS.NAMES \['MARS'\] \(.*config.yaml\), and it is"),
        (("MDKT.LAST_BLOCK_RELU", True), "trained with MODEL.MDKT.LAST_BLOCK_RELU True .* teacher is built with False"),
    ],
)
def test_a_teacher_whose_config_tells_of_other_identities_or_another_activation_is_refused(
    stage1, tmp_path, then, message
):
    network, _ = stage1
    (tmp_path / "config.yaml").write_text(config("VideoReID").dump())
    path = str(tmp_path / "model_final.pth")
    torch.save({"model": network.state_dict(), "epoch": 0}, path)
    model, _ = prepared(path)
    assert not changed(model.teacher, network.state_dict())
    (tmp_path / "config.yaml").write_text(config("VideoReID", *then).dump())
    with pytest.raises(UsageError, match=message):
        prepared(path)
    (tmp_path / "config.yaml").write_bytes(b"\xff{")
    with pytest.raises(UsageError, match=r"config\.yaml: cannot be read as a config"):
        prepared(path)


def test_files_that_are_no_teacher_are_refused_in_a_line(stage1, tmp_path):
    _, path = stage1
    backbone = tmp_path / "backbone.pth"
    torch.save(model_of("VideoReID").backbone.state_dict(), backbone)
    for file, message in (
        (str(backbone), "does not fit the teacher, which needs heads.neck.weight"),
        (str(tmp_path / "none.pth"), "none.pth"),
        ("", "name the checkpoint of stage 1 in MODEL.MDKT.TEACHER_WEIGHTS, or run projects/MDKT/train_net.py"),
    ):
        with pytest.raises(UsageError, match=message) as error:
            prepared(file)
        assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match=r"does not fit the teacher, .* name in MODEL.MDKT.TEACHER_CONFIG"):
        prepared(path, "MODEL.BACKBONE.DEPTH", "34x")
    with pytest.raises(UsageError, match="MODEL.WEIGHTS other.pth: both networks of MDKT start from"):
        prepared(path, "MODEL.WEIGHTS", "other.pth")


def test_a_checkpoint_of_stage_2_is_no_teacher(tmp_path):
    model = model_of("MDKT")
    torch.save({"model": model.state_dict()}, tmp_path / "stage2.pth")
    with pytest.raises(UsageError, match=r"stage2\.pth: is a checkpoint of stage 2, with a teacher and a student"):
        model.prepare_training(config("MDKT", "MDKT.TEACHER_WEIGHTS", str(tmp_path / "stage2.pth")))


def test_a_checkpoint_of_stage_2_is_evaluated_as_it_is(tmp_path):
    trained, other = model_of("MDKT", seed=1), model_of("MDKT", seed=2)
    torch.save({"model": trained.state_dict()}, tmp_path / "stage2.pth")
    load_for_evaluation(other, str(tmp_path / "stage2.pth"))
    assert all(map(torch.equal, trained.state_dict().values(), other.state_dict().values()))
