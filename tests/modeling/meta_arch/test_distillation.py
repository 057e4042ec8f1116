"""FastReID's Distiller with MDPR as its student and as a teacher."""

from collections.abc import Sequence

import pytest
import torch
from fastreid.config import get_cfg
from fastreid.modeling import build_model
from fastreid.modeling.meta_arch import Distiller
from fastreid.utils.events import EventStorage
from support.settings import small_config
from support.weight_kinds import resnet

from mdpr_fastreid.engine.checkpoints import Checkpointer
from mdpr_fastreid.errors import SettingsError, UsageError
from mdpr_fastreid.modeling import MDPR

STOCK = ["MODEL.META_ARCHITECTURE", "Baseline", "MODEL.HEADS.NAME", "EmbeddingHead", "MODEL.BACKBONE.FEAT_DIM", 512]
METHODS = {"MDPR": [], "Baseline": STOCK}


@pytest.fixture
def distiller(tmp_path):
    """Builds upstream's Distiller, its teachers loaded from files as FastDistill does."""

    def build(student: str, *teachers: str, ema: bool = False, weights: Sequence[str] = ()) -> Distiller:
        configs, written = [], []
        for number, teacher in enumerate(teachers):
            cfg = small_config(*METHODS[teacher])
            torch.manual_seed(100 + number)
            torch.save({"model": build_model(cfg).state_dict()}, tmp_path / f"{number}.pth")
            (tmp_path / f"{number}.yaml").write_text(cfg.dump())
            configs.append(str(tmp_path / f"{number}.yaml"))
            written.append(str(tmp_path / f"{number}.pth"))
        cfg = small_config(*METHODS[student], "MODEL.META_ARCHITECTURE", "Distiller")
        cfg.merge_from_list(
            ["KD.MODEL_CONFIG", configs, "KD.MODEL_WEIGHTS", list(weights or written), "KD.EMA.ENABLED", ema]
        )
        torch.manual_seed(0)
        return build_model(cfg).train()

    return build


def batch():
    generator = torch.Generator().manual_seed(0)
    return {"images": torch.rand(8, 3, 96, 48, generator=generator) * 255, "targets": torch.arange(8) // 2}


def trained(model: Distiller, steps: int, lr: float = 1e-5) -> list[float]:
    """Total losses of some steps on one batch."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=lr)
    totals = []
    with EventStorage():
        for _ in range(steps):
            optimizer.zero_grad()
            total = sum(model(batch()).values())
            total.backward()
            optimizer.step()
            totals.append(total.item())
    return totals


@pytest.mark.parametrize(
    ("student", "teachers", "ema"),
    [
        ("MDPR", ["Baseline"], False),
        ("Baseline", ["MDPR"], False),
        ("MDPR", ["MDPR", "Baseline"], True),
        ("MDPR", [], True),
    ],
)
def test_the_student_learns_and_the_teachers_stay(distiller, student, teachers, ema):
    model = distiller(student, *teachers, ema=ema)
    assert isinstance(model, Distiller) and isinstance(model, MDPR) == (student == "MDPR")
    assert [isinstance(teacher, MDPR) for teacher in model.model_ts[ema:]] == [name == "MDPR" for name in teachers]
    before = [[p.clone() for p in teacher.parameters()] for teacher in model.model_ts[ema:]]
    with EventStorage():
        losses = model(batch())
    assert losses["loss_jsdiv"] > 0 or not teachers
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    totals = trained(model, 4)
    assert totals[-1] < totals[0]
    for teacher, old in zip(model.model_ts[ema:], before, strict=True):
        assert all(torch.equal(p, value) for p, value in zip(teacher.parameters(), old, strict=True))
        assert not any(p.requires_grad for p in teacher.parameters())


def test_a_teacher_computes_with_the_weights_of_its_file(distiller, tmp_path):
    teacher = distiller("Baseline", "MDPR").model_ts[0]
    saved = torch.load(tmp_path / "0.pth", weights_only=True)["model"]
    assert teacher.state_dict().keys() == saved.keys()
    assert all(torch.equal(value, saved[name]) for name, value in teacher.state_dict().items())


TEACHERS = {
    "foreign": ({"foo": torch.zeros(3)}, r"which needs backbone\.\S*conv1\.weight"),
    "ImageNet": (resnet(), r"which needs "),
    "other identities": (None, r"needs heads\.(embedding_heads\.hard_global\.)?weight"),
}


@pytest.mark.parametrize("student", ["MDPR", "Baseline"])
@pytest.mark.parametrize("teacher", ["MDPR", "Baseline"])
@pytest.mark.parametrize("file", TEACHERS)
def test_a_teacher_that_its_file_would_leave_random_is_refused(distiller, tmp_path, student, teacher, file):
    content, message = TEACHERS[file]
    if content is None:
        content = build_model(small_config(*METHODS[teacher], "MODEL.HEADS.NUM_CLASSES", 9)).state_dict()
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(UsageError, match=rf"KD\.MODEL_WEIGHTS\[0\]: .*other\.pth.*{message}") as caught:
        distiller(student, teacher, weights=[str(tmp_path / "other.pth")])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ema", [False, True])
def test_every_teacher_needs_a_file_that_exists(distiller, tmp_path, ema):
    for file, message in (("", r"is empty: name the weight file"), ("none.pth", r".*none\.pth: no such weight file")):
        weights = [str(tmp_path / "0.pth"), file]
        with pytest.raises(UsageError, match=rf"KD\.MODEL_WEIGHTS\[1\]:? {message}"):
            distiller("MDPR", "MDPR", "Baseline", ema=ema, weights=weights)


CONFIGS = {
    "nope.yml": (None, r"config file .*nope\.yml does not exist"),
    "key.yml": ("MODEL: {BACKBON: {DEPTH: 18x}}", r"there is no key MODEL\.BACKBON; did you mean MODEL\.BACKBONE"),
    "name.yml": ("MODEL: {BACKBONE: {NAME: build_resnet_backbon}}", r"MODEL\.BACKBONE\.NAME: .*build_resnet_backbone"),
}


@pytest.mark.parametrize("student", ["MDPR", "Baseline"])
@pytest.mark.parametrize("file", CONFIGS)
def test_a_wrong_config_of_a_teacher_is_one_line(tmp_path, student, file):
    content, message = CONFIGS[file]
    if content:
        (tmp_path / file).write_text(content)
    teachers = ["KD.MODEL_CONFIG", [str(tmp_path / file)], "KD.MODEL_WEIGHTS", ["a.pth"]]
    cfg = small_config(*METHODS[student], "MODEL.META_ARCHITECTURE", "Distiller", *teachers)
    with pytest.raises(UsageError, match=rf"KD\.MODEL_CONFIG\[0\]: .*{message}") as caught:
        build_model(cfg)
    assert "\n" not in str(caught.value)


def test_every_teacher_needs_a_config_and_a_file():
    for configs, weights, message in (
        ([""], ["a.pth"], r"KD\.MODEL_CONFIG\[0\] is empty"),
        (["a.yml"], [], "KD.MODEL_CONFIG names 1 teachers, and KD.MODEL_WEIGHTS 0 files"),
    ):
        cfg = small_config("MODEL.META_ARCHITECTURE", "Distiller", "KD.MODEL_CONFIG", configs)
        cfg.KD.MODEL_WEIGHTS = weights
        with pytest.raises(SettingsError, match=message):
            build_model(cfg)


def test_a_student_has_the_weights_the_losses_and_the_features_of_mdpr(distiller):
    student, alone = distiller("MDPR", "Baseline"), build_model(small_config()).train()
    alone.load_state_dict(student.state_dict(), strict=True)
    assert [name for name, _ in student.named_parameters()] == [name for name, _ in alone.named_parameters()]
    with EventStorage():
        ours, theirs = alone(batch()), student(batch())
    assert theirs.keys() - ours.keys() == {"loss_jsdiv"}
    assert all(torch.equal(theirs[name], value) for name, value in ours.items())
    with torch.no_grad():
        assert torch.equal(student.eval()(batch()), alone.eval()(batch()))


def test_the_moving_average_starts_as_the_student_and_follows_it(distiller):
    model = distiller("MDPR", ema=True)
    (average,) = model.model_ts
    start = [p.clone() for p in average.parameters()]
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), average.parameters(), strict=True))
    trained(model, 2, lr=0.01)
    moved = [not torch.equal(p, old) for p, old in zip(average.parameters(), start, strict=True)]
    assert sum(moved) > 0.9 * len(moved)


@pytest.mark.parametrize("method", ["MDPR", "Baseline"])
def test_the_moving_average_starts_from_the_file_that_the_student_starts_from(tmp_path, method):
    torch.save(resnet(), tmp_path / "resnet18.pth")
    cfg = small_config(*METHODS[method], "MODEL.META_ARCHITECTURE", "Distiller", "KD.EMA.ENABLED", True)
    cfg.MODEL.WEIGHTS = str(tmp_path / "resnet18.pth")
    model = build_model(cfg)
    Checkpointer(model).resume_or_load(cfg.MODEL.WEIGHTS, resume=False)
    (average,) = model.model_ts
    stem = model.backbone.trunk.conv1 if method == "MDPR" else model.backbone.conv1
    assert torch.equal(stem.weight, resnet()["conv1.weight"])
    assert average.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, average.state_dict()[name]) for name, value in model.state_dict().items())


def test_distillation_among_fastreids_own_models_is_untouched(distiller):
    model = distiller("Baseline", "Baseline", ema=True)
    assert type(model) is Distiller
    assert [type(teacher).__name__ for teacher in model.model_ts] == ["Baseline", "Baseline"]
    assert get_cfg().MODEL.META_ARCHITECTURE == "Baseline"
