"""MDKT: what each mode trains, what the student sees, what is logged, what is evaluated, and what it refuses."""

import copy

import pytest
import torch
from fastreid.utils.events import EventStorage
from fastreid.utils.precision_bn import update_bn_stats
from mdkt.losses import PairwiseDistanceLoss
from small_mdkt import batch_of, config, gradients, model_of, train_steps

from mdpr_fastreid.engine.optimizers import build_optimizer
from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.inference import fold
from mdpr_fastreid.modeling import build_model

MODES = ("frozen", "independent", "mutual")
WITH_RELU = ("MDKT.LAST_BLOCK_RELU", True)
ALONE = ("MDKT.KD.SCALE", 0.0, "MDKT.PD.SCALE", 0.0, "MDKT.TCL.SCALE", 0.0)


def state_of(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


@pytest.mark.parametrize("statistics", ["batch", "running"])
def test_a_frozen_teacher_stays_bit_for_bit(statistics):
    model = build_model(config("MDKT", "MDKT.MODE", "frozen", "MDKT.TEACHER_BN", statistics))  # nobody calls train()
    teacher, student = state_of(model.teacher), state_of(model.student)
    train_steps(model)
    model.eval()(batch_of())
    train_steps(model.train(), steps=1)
    update_bn_stats(model, [batch_of(seed=seed) for seed in range(3)], 3)  # TEST.PRECISE_BN
    assert all(torch.equal(value, teacher[name]) for name, value in model.teacher.state_dict().items())
    after = model.student.state_dict()
    assert not any(torch.equal(after[name], student[name]) for name in after if "neck.bias" not in name)


def test_a_frozen_teacher_uses_the_statistics_that_its_key_names():
    by = {
        kind: model_of("MDKT", "MDKT.MODE", "frozen", "MDKT.TEACHER_BN", kind, exact=True)
        for kind in ("batch", "running")
    }
    clips = batch_of()["clips"].double()
    read = {kind: model.teacher.read(clips).embedding for kind, model in by.items()}
    trained = model_of("MDKT", "MDKT.MODE", "mutual", exact=True)
    torch.testing.assert_close(read["batch"], trained.teacher.read(clips).embedding, atol=1e-12, rtol=0)
    expected = copy.deepcopy(by["running"]).eval()(clips)  # of the student, which is another network
    evaluated = by["running"].teacher.eval()
    torch.testing.assert_close(read["running"], evaluated(clips), atol=1e-12, rtol=0)
    assert not torch.allclose(read["running"], read["batch"])
    assert not torch.allclose(expected, read["running"])


def test_independent_the_teacher_gets_the_gradients_of_its_own_losses_alone():
    batch = {**batch_of(), "clips": batch_of()["clips"].double()}
    model = model_of("MDKT", "MDKT.MODE", "independent", exact=True)
    torch.manual_seed(1)
    found = gradients(model, model(batch))
    _, own = model.teacher.learn(batch["clips"], batch["targets"])
    expected = gradients(model, own)
    of_teacher = {name: value for name, value in found.items() if name.startswith("teacher.")}
    assert of_teacher.keys() == expected.keys() == {f"teacher.{n}" for n, p in model.teacher.named_parameters()
                                                    if p.requires_grad}  # fmt: skip
    for name, value in of_teacher.items():
        torch.testing.assert_close(value, expected[name], atol=1e-12, rtol=1e-9)


def test_mutual_the_student_teaches_the_teacher_and_not_the_other_way_round():
    batch = {**batch_of(), "clips": batch_of()["clips"].double()}
    model = model_of("MDKT", exact=True)
    assert (model.logits_loss.direction, model.contrast_loss.direction) == ("both", "both")
    _, own = model.teacher.learn(batch["clips"], batch["targets"])
    expected = gradients(model, own)
    torch.manual_seed(1)
    of_both = gradients(model, model(batch))
    differ = [name for name in expected if not torch.allclose(of_both[name], expected[name], atol=1e-9)]
    assert len(differ) > len(expected) / 2
    model.logits_loss.direction = model.contrast_loss.direction = "t2s"
    torch.manual_seed(1)
    one_way = gradients(model, model(batch))
    for name in expected:
        torch.testing.assert_close(one_way[name], expected[name], atol=1e-12, rtol=1e-9)


def test_pd_moves_the_teacher_only_if_it_is_mutual():
    batch = {**batch_of(), "clips": batch_of()["clips"].double()}
    for mutual in (False, True):
        model = model_of("MDKT", "MDKT.PD.MUTUAL", mutual, "MDKT.PD.SCALE", 1.0, exact=True)
        loss = {"loss_pd": model(batch)["loss_pd"]}
        assert any(name.startswith("teacher.") for name in gradients(model, loss)) == mutual


@pytest.mark.parametrize("mode", MODES)
def test_every_parameter_that_is_trained_gets_a_gradient_whatever_losses_there_are(mode):
    for row in ((), ALONE, ("MDKT.CE.SCALE", 0.0), ("MDKT.CE.SCALE", 0.0, "MDKT.KD.SCALE", 0.0)):
        model = model_of("MDKT", "MDKT.MODE", mode, *row)
        trained = {name for name, p in model.named_parameters() if p.requires_grad}
        assert gradients(model, model(batch_of())).keys() == trained, row
        assert any(name.startswith("teacher.") for name in trained) == (mode != "frozen")


def test_the_losses_are_those_of_the_switches():
    def names(*overrides):
        return sorted(name.removeprefix("loss_") for name in model_of("MDKT", *overrides)(batch_of()))

    own, of_teacher, between = ["cls", "triplet"], ["cls_teacher", "triplet_teacher"], ["mkd", "mtcl", "pd"]
    assert names() == sorted(own + of_teacher + between)
    assert names("MDKT.MODE", "frozen") == sorted(own + between)
    assert names("MDKT.MODE", "frozen", *ALONE) == own
    assert names("MDKT.TCL.SCALE", 0.0, "MDKT.TRI.SCALE", 0.0) == ["cls", "cls_teacher", "mkd", "pd"]


def test_the_total_is_the_weighted_sum_of_what_both_networks_read():
    model, batch = model_of("MDKT"), batch_of()
    torch.manual_seed(2)
    few = model.frames_for_student(batch["clips"])
    torch.manual_seed(2)
    losses = model(batch)
    teacher, student = model.teacher.read(batch["clips"]), model.student.read(few)
    distances = PairwiseDistanceLoss()(teacher.embedding, student.embedding)
    torch.testing.assert_close(losses["loss_pd"], 1e-4 * distances)
    torch.testing.assert_close(losses["loss_mkd"], model.logits_loss(teacher.logits, student.logits))
    assert (model.logits_loss.scale, model.logits_loss.temperature, model.contrast_loss.scale) == (0.1, 10, 1)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_student_sees_some_of_the_teachers_very_tensors_and_each_once(count):
    model = model_of("MDKT", "MDKT.STUDENT_FRAMES", count)
    clips = torch.arange(6 * 4.0).view(6, 4, 1, 1, 1).expand(6, 4, 3, 2, 2)
    for _ in range(5):
        few = model.frames_for_student(clips)
        assert few.shape == (6, count, 3, 2, 2)
        for clip, seen in zip(clips, few, strict=True):
            values = seen[:, 0, 0, 0].tolist()
            assert len(set(values)) == count and set(values) <= set(clip[:, 0, 0, 0].tolist())


def test_the_frames_of_the_student_follow_from_torchs_seed_and_are_equally_likely():
    model, clips = model_of("MDKT"), torch.arange(4.0).view(1, 4, 1, 1, 1).expand(2000, 4, 3, 1, 1)
    torch.manual_seed(5)
    first = model.frames_for_student(clips)
    torch.manual_seed(5)
    assert torch.equal(first, model.frames_for_student(clips))
    shares = torch.bincount(first[:, :, 0, 0, 0].flatten().long()) / 2000
    assert ((shares - 0.5).abs() < 0.05).all()


@pytest.mark.parametrize("mode", MODES)
def test_teacher_and_student_that_agree_cost_nothing_between_them(mode):
    model = model_of("MDKT", "MDKT.MODE", mode, "MDKT.STUDENT_FRAMES", 4, "MDKT.PD.SCALE", 1.0, exact=True)
    model.student.load_state_dict(model.teacher.state_dict())
    losses = model({**batch_of(), "clips": batch_of()["clips"].double()})
    for name in ("loss_mkd", "loss_pd", "loss_mtcl"):
        assert losses[name].item() == pytest.approx(0, abs=1e-12)
        moved = gradients(model, {name: losses[name] + 0 * losses["loss_cls"]})
        assert max(value.abs().max() for value in moved.values()) < 1e-9
        losses = model({**batch_of(), "clips": batch_of()["clips"].double()})


@pytest.mark.parametrize("targets", [[0, 0, 1, 1, 2, 2], [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 1, 2], [-1] * 6])
def test_unusual_batches_cost_a_finite_loss(targets):
    model = model_of("MDKT")
    batch = batch_of() | {"targets": torch.tensor(targets)}
    batch["clips"][1] = batch["clips"][0]
    losses = model(batch)
    assert all(loss.isfinite() for loss in losses.values())
    assert all(value.isfinite().all() for value in gradients(model, losses).values())


def test_what_it_evaluates_is_the_student():
    model, batch = model_of("MDKT").eval(), batch_of()
    with torch.no_grad():
        outputs, of_student = model(batch), model.student(batch)
        assert torch.equal(outputs["image"], of_student["image"]) and torch.equal(outputs["clip"], of_student["clip"])
        assert torch.equal(model(batch["images"]), outputs["image"])
        network = fold(model)
        torch.testing.assert_close(network(batch)["clip"], outputs["clip"], atol=1e-3, rtol=1e-3)
    assert model.pairings == network.pairings == {"I2V": ("image", "clip"), "V2V": ("clip", "clip")}
    assert network.network.teacher is None and model.teacher is not None


def test_each_step_logs_raw_losses_probabilities_and_gradients():
    model = model_of("MDKT", exact=True)
    batch = {**batch_of(), "clips": batch_of()["clips"].double()}
    torch.manual_seed(3)
    expected = model(batch)
    with EventStorage() as storage:
        torch.manual_seed(3)
        losses = model(batch)
    logged = {name: value for name, (value, _) in storage.latest().items()}
    assert logged["raw_mkd"] == pytest.approx(losses["loss_mkd"].item() / 0.1)
    assert logged["raw_pd"] == pytest.approx(losses["loss_pd"].item() / 1e-4)
    for name in ("cls", "triplet", "cls_teacher", "triplet_teacher", "mtcl"):
        assert logged[f"raw_{name}"] == pytest.approx(losses[f"loss_{name}"].item())
    for who in ("teacher", "student"):
        assert 0 < logged[f"p_{who}_05"] <= logged[f"p_{who}_median"] <= logged[f"p_{who}_95"] < 1
    assert 0 <= logged["p_teacher_saturated"] <= 1
    for name in ("cls", "triplet", "mkd", "pd", "mtcl"):
        assert logged[f"gradient_{name}"] > 0
    assert not any(name.startswith("gradient_") and name.endswith("_teacher") for name in logged)
    # To log changes nothing
    assert all(torch.equal(losses[name], expected[name]) for name in expected)
    with EventStorage(start_iter=100) as storage:
        model(batch)
    assert not any(name.startswith("gradient_") for name in storage.latest())


def test_the_logged_gradient_of_a_loss_on_the_embedding_is_that_on_the_embedding():
    from mdkt.meta_arch.monitoring import gradient_norms

    frames = torch.randn(3, 2, 5, requires_grad=True)
    embedding = frames.mean(dim=1)
    loss = {"loss_pd": embedding.square().sum()}
    expected = torch.autograd.grad(loss["loss_pd"], embedding, retain_graph=True)[0].norm()
    torch.testing.assert_close(gradient_norms(loss, frames)["loss_pd"], expected)


def test_a_loop_without_gradients_or_without_a_triplet_logs_no_nonsense():
    model = model_of("MDKT")
    with EventStorage() as storage, torch.no_grad():
        model(batch_of())
    assert not storage.latest()
    with EventStorage() as storage:
        model(batch_of(identities=1))
    assert storage.latest()["p_teacher_median"][0] == storage.latest()["p_teacher_saturated"][0] == 0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("MDKT.STUDENT_FRAMES", 5), "STUDENT_FRAMES 5 is more than the 4 frames of a clip \\(INPUT.CLIP.FRAMES\\)"),
        (("MDKT.MODE", "frozen", "MDKT.PD.MUTUAL", True), "moves the teacher, which MODEL.MDKT.MODE frozen rules out"),
        (("MDKT.MODE", "independent", "MDKT.PD.MUTUAL", True), "MODEL.MDKT.MODE independent rules out"),
        ((*ALONE, "MDKT.CE.SCALE", 0.0, "MDKT.TRI.SCALE", 0.0), "TCL.SCALE are all 0: nothing is learnt"),
        (
            ("MDKT.MODE", "independent", "MDKT.CE.SCALE", 0.0, "MDKT.TRI.SCALE", 0.0),
            "MODE independent trains the teacher, and no loss does",
        ),
        (("INPUT.FIELDS", (), "MDKT.PAIRINGS", ("I2I",)), 'teaches with clips: set INPUT.FIELDS \\("clip",\\)'),
        (("MDKT.MODE", "frozn"), "did you mean frozen?"),
        (("MDKT.KD.TEMPERATURE", 0.0), "must be a number greater than 0, got 0.0"),
        (
            ("MDKT.STUDENT", "MDPR", "MODEL.HEADS.NECK_FEAT", "after"),
            "MODEL.MDKT.STUDENT MDPR learns from a VideoReID: name the config of that",
        ),
        (
            (*("MODEL.BACKBONE.NAME", "build_osnet_backbone", "MODEL.BACKBONE.DEPTH", "x0_25"), *WITH_RELU),
            "MODEL.MDKT.RESET names layer4, which build_osnet_backbone has not",
        ),
        (("MODEL.BACKBONE.NORM", "GhostBN", "MDKT.MODE", "frozen"), "TEACHER_BN batch is not for GhostBN"),
    ],
)
def test_settings_that_contradict_each_other_are_one_line(overrides, message):
    with pytest.raises(SettingsError, match=message) as error:
        build_model(config("MDKT", *overrides))
    assert "\n" not in str(error.value)


def test_clips_shorter_than_what_the_student_sees_are_an_error():
    with pytest.raises(ValueError, match="the student sees 2 frames, and these clips have 1"):
        model_of("MDKT")(batch_of(frames=1))


@pytest.mark.parametrize(
    ("mode", "expected"), [("mutual", {"teacher": 0.1, "student": 1.0}), ("frozen", {"student": 1.0})]
)
def test_a_teacher_that_trains_has_a_learning_rate_of_its_own(mode, expected):
    cfg = config("MDKT", "MDKT.MODE", mode, "MDKT.TEACHER_LR_FACTOR", 0.1, "SOLVER.BASE_LR", 0.5)
    model = build_model(cfg)
    _, groups = build_optimizer(cfg, model, contiguous=False)
    names = {parameter: name.partition(".")[0] for name, parameter in model.named_parameters()}
    rates = {(names[group["params"][0]], round(group["lr"] / 0.5, 6)) for group in groups}
    assert rates == set(expected.items())


def test_a_student_with_another_activation_than_the_teacher_whose_weights_it_gets_is_refused(tmp_path):
    (tmp_path / "teacher.yml").write_text(config("VideoReID").dump())
    named = ("MDKT.TEACHER_CONFIG", str(tmp_path / "teacher.yml"))
    with pytest.raises(SettingsError, match="LAST_BLOCK_RELU is True for the student, and False for the teacher"):
        build_model(config("MDKT", *named, *WITH_RELU))
    assert build_model(config("MDKT", *named, *WITH_RELU, "MODEL.BACKBONE.DEPTH", "34x"))  # has weights of its own
