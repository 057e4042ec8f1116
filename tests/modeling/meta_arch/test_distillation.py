"""FastReID's Distiller with MDPR as its student and as a teacher."""

import pytest
import torch
from fastreid.config import get_cfg
from fastreid.modeling import build_model
from fastreid.modeling.meta_arch import Distiller
from fastreid.utils.events import EventStorage
from support.settings import small_config

from mdpr_fastreid.modeling import MDPR

STOCK = ["MODEL.META_ARCHITECTURE", "Baseline", "MODEL.HEADS.NAME", "EmbeddingHead", "MODEL.BACKBONE.FEAT_DIM", 512]
METHODS = {"MDPR": [], "Baseline": STOCK}


@pytest.fixture
def distiller(tmp_path):
    """Builds upstream's Distiller, its teachers loaded from files as FastDistill does."""

    def build(student: str, *teachers: str, ema: bool = False) -> Distiller:
        configs, weights = [], []
        for number, teacher in enumerate(teachers):
            cfg = small_config(*METHODS[teacher])
            torch.manual_seed(100 + number)
            torch.save({"model": build_model(cfg).state_dict()}, tmp_path / f"{number}.pth")
            (tmp_path / f"{number}.yaml").write_text(cfg.dump())
            configs.append(str(tmp_path / f"{number}.yaml"))
            weights.append(str(tmp_path / f"{number}.pth"))
        cfg = small_config(*METHODS[student], "MODEL.META_ARCHITECTURE", "Distiller")
        cfg.merge_from_list(["KD.MODEL_CONFIG", configs, "KD.MODEL_WEIGHTS", weights, "KD.EMA.ENABLED", ema])
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


def test_distillation_among_fastreids_own_models_is_untouched(distiller):
    model = distiller("Baseline", "Baseline", ema=True)
    assert type(model) is Distiller
    assert [type(teacher).__name__ for teacher in model.model_ts] == ["Baseline", "Baseline"]
    assert get_cfg().MODEL.META_ARCHITECTURE == "Baseline"
