"""MKD against VKD's values, the formula in a loop, finite differences and FastReID's own divergence."""

import pytest
import torch
from fastreid.modeling.meta_arch import Distiller
from mdkt.losses import MutualLogitsDistillation
from slow_loops import logits_distillation
from vkd_values import RESULTS, inputs, values

VALUES = RESULTS["kd"]["values"]


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("temperature", [1, 4, 10, 16])
@pytest.mark.parametrize("direction", ["t2s", "s2t"])
def test_each_direction_has_vkds_value(temperature, reduction, direction):
    loss = MutualLogitsDistillation(temperature=temperature, reduction=reduction, direction=direction)
    expected = VALUES[f"T={temperature} {reduction}"][direction]
    assert loss(*inputs("logits")).item() == pytest.approx(expected, abs=1e-9 * max(1, expected))


def test_by_default_it_is_the_unweighted_sum_of_both_directions_at_vkds_temperature():
    expected = VALUES["T=10 mean"]["t2s"] + VALUES["T=10 mean"]["s2t"]
    assert MutualLogitsDistillation()(*inputs("logits")).item() == pytest.approx(expected, abs=1e-9)
    assert MutualLogitsDistillation(scale=0.1)(*inputs("logits")).item() == pytest.approx(expected / 10, abs=1e-9)


@pytest.mark.parametrize("detach", [True, False])
def test_the_students_gradient_is_vkds(detach):
    teacher, student = inputs("logits")
    MutualLogitsDistillation(direction="t2s", detach=detach)(teacher, student).backward()
    expected = values(VALUES["T=10 mean"]["grad_student_of_t2s"])
    torch.testing.assert_close(student.grad, expected, atol=1e-9, rtol=0)
    assert (teacher.grad is None) == detach


@pytest.mark.parametrize("temperature", [0.7, 10.0])
def test_it_is_the_formula_in_a_loop(temperature):
    teacher, student = inputs("logits")
    rows = teacher.tolist(), student.tolist()
    for direction, (source, learner) in {"t2s": rows, "s2t": rows[::-1]}.items():
        loss = MutualLogitsDistillation(temperature=temperature, direction=direction)
        expected = logits_distillation(source, learner, temperature)
        assert loss(teacher, student).item() == pytest.approx(expected, rel=1e-12)


def test_at_fastreids_temperature_it_is_twice_its_symmetric_divergence():
    teacher, student = inputs("logits")
    expected = 2 * Distiller.jsdiv_loss(Distiller, student, teacher)
    torch.testing.assert_close(MutualLogitsDistillation(temperature=16)(teacher, student), expected, atol=1e-9, rtol=0)


def test_gradients_are_those_of_finite_differences():
    teacher, student = inputs("logits")
    both = MutualLogitsDistillation(temperature=2, detach=False)
    assert torch.autograd.gradcheck(both, (teacher, student))
    fixed = MutualLogitsDistillation(temperature=2, direction="t2s")
    assert torch.autograd.gradcheck(lambda learner: fixed(teacher, learner), student)
    fixed = MutualLogitsDistillation(temperature=2, direction="s2t")
    assert torch.autograd.gradcheck(lambda learner: fixed(learner, student), teacher)


def test_each_direction_trains_one_network_and_their_sum_both():
    teacher, student = inputs("logits")
    both = torch.autograd.grad(MutualLogitsDistillation()(teacher, student), (teacher, student))
    for direction, of in (("s2t", 0), ("t2s", 1)):
        loss = MutualLogitsDistillation(direction=direction)(teacher, student)
        alone = torch.autograd.grad(loss, (teacher, student), allow_unused=True)
        assert alone[1 - of] is None
        torch.testing.assert_close(alone[of], both[of], atol=1e-14, rtol=0)


@pytest.mark.parametrize("detach", [True, False])
def test_equal_networks_cost_nothing_and_move_nothing(detach):
    teacher, _ = inputs("logits")
    student = teacher.detach().clone().requires_grad_()
    loss = MutualLogitsDistillation(detach=detach)(teacher, student)
    loss.backward()
    assert loss == 0
    assert max(teacher.grad.abs().max(), student.grad.abs().max()) < 1e-15


def test_half_precision_is_computed_in_float32():
    teacher, student = (logits.detach() * 10 for logits in inputs("logits"))
    expected = MutualLogitsDistillation(temperature=1)(teacher, student)
    found = MutualLogitsDistillation(temperature=1)(teacher.half(), student.half())
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected.item(), rel=1e-2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0}, "temperature must be greater than 0, got 0"),
        ({"direction": "both ways"}, "direction must be 'both', 't2s' or 's2t', got 'both ways'"),
        ({"reduction": "none"}, "reduction must be 'mean' or 'sum', got 'none'"),
    ],
)
def test_an_argument_that_cannot_be_is_an_error_that_names_it(arguments, message):
    with pytest.raises(ValueError, match=message):
        MutualLogitsDistillation(**arguments)


def test_logits_of_other_classes_are_an_error():
    with pytest.raises(ValueError, match="must tell the same classes apart, got 7 and 6"):
        MutualLogitsDistillation()(torch.zeros(9, 7), torch.zeros(9, 6))
    with pytest.raises(ValueError, match="must be .* of the same samples"):
        MutualLogitsDistillation()(torch.zeros(9, 7), torch.zeros(8, 7))
