"""PD against VKD's values, the formula in a loop and finite differences."""

import pytest
import torch
from mdkt.losses import PairwiseDistanceLoss, squared_distances
from slow_loops import distance, pairwise
from vkd_values import RESULTS, inputs, values

GOLDEN = RESULTS["distance_preservation"]


@pytest.mark.parametrize("penalty", ["l2", "l1", "huber"])
def test_each_penalty_has_vkds_value(penalty):
    found = PairwiseDistanceLoss(penalty=penalty)(*inputs("emb")).item()
    assert found == pytest.approx(GOLDEN[penalty]["value"], abs=1e-9)


def test_by_default_it_is_unweighted_and_moves_the_student_alone():
    teacher, student = inputs("emb")
    loss = PairwiseDistanceLoss()(teacher, student)
    loss.backward()
    assert loss.item() == pytest.approx(GOLDEN["l2"]["value"], abs=1e-9)
    torch.testing.assert_close(student.grad, values(GOLDEN["l2"]["grad_student"]), atol=1e-9, rtol=0)
    assert teacher.grad is None


def test_mutual_moves_the_teacher_as_vkds_does_if_it_is_not_detached():
    teacher, student = inputs("emb")
    PairwiseDistanceLoss(mutual=True)(teacher, student).backward()
    expected = values(GOLDEN["l2"]["grad_teacher_if_not_detached"])
    torch.testing.assert_close(teacher.grad, expected, atol=1e-9, rtol=0)


def test_the_sum_is_that_over_unordered_pairs():
    found = PairwiseDistanceLoss(reduction="sum")(*inputs("emb")).item()
    assert found == pytest.approx(GOLDEN["sum_over_unordered_pairs_of_squared_differences"], abs=1e-7)
    teacher, student = (rows.tolist() for rows in inputs("emb"))
    assert found == pytest.approx(pairwise(teacher, student), rel=1e-12)


def test_the_distances_are_vkds():
    expected = values(GOLDEN["first_row_of_teacher_squared_distances"])
    torch.testing.assert_close(squared_distances(inputs("emb")[0])[0], expected, atol=1e-9, rtol=0)


def test_distances_that_are_not_squared_are_the_formula_in_a_loop():
    rows = [rows.tolist() for rows in inputs("emb")]
    found = PairwiseDistanceLoss(squared=False, reduction="sum")(*inputs("emb"))
    assert found.item() == pytest.approx(pairwise(*rows, between=distance), rel=1e-12)


def test_mutual_gradients_are_the_sum_of_the_two_half_detached_forms():
    teacher, student = inputs("emb")
    found = torch.autograd.grad(PairwiseDistanceLoss(mutual=True)(teacher, student), (teacher, student))
    loss = PairwiseDistanceLoss()
    of_student = torch.autograd.grad(loss(teacher, student), student)[0]
    of_teacher = torch.autograd.grad(loss(student, teacher), teacher)[0]  # symmetric, so this is the other half
    torch.testing.assert_close(found, (of_teacher, of_student), atol=1e-12, rtol=0)


@pytest.mark.parametrize("options", [{}, {"squared": False}, {"penalty": "huber"}])
def test_gradients_are_those_of_finite_differences(options):
    teacher, student = inputs("emb")
    assert torch.autograd.gradcheck(PairwiseDistanceLoss(mutual=True, **options), (teacher, student))
    loss = PairwiseDistanceLoss(**options)
    assert torch.autograd.gradcheck(lambda learner: loss(teacher, learner), student)


def test_normalised_distances_do_not_know_the_scale_of_a_network():
    teacher, student = inputs("emb")
    for squared in (True, False):
        loss = PairwiseDistanceLoss(squared=squared, normalize=True)
        expected = loss(teacher, student)
        assert loss(teacher * 100, student / 7).item() == pytest.approx(expected.item(), rel=1e-6)
        assert loss(teacher, teacher * 3).item() == pytest.approx(0, abs=1e-12)


def test_networks_may_have_other_widths():
    teacher, student = inputs("emb")
    assert PairwiseDistanceLoss()(teacher, student[:, :5]).isfinite()


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("batch", ["coinciding", "single", "equal networks"])
def test_unusual_batches_have_finite_gradients(squared, normalize, batch):
    teacher, student = inputs("emb")
    if batch == "coinciding":
        student = student[:1].detach().expand(9, -1).clone().requires_grad_()
    elif batch == "single":
        teacher, student = teacher[:1].detach().requires_grad_(), student[:1].detach().requires_grad_()
    else:
        student = teacher.detach().clone().requires_grad_()
    loss = PairwiseDistanceLoss(mutual=True, squared=squared, normalize=normalize)(teacher, student)
    loss.backward()
    assert loss.isfinite() and teacher.grad.isfinite().all() and student.grad.isfinite().all()
    if batch != "coinciding":
        assert loss == 0 and not student.grad.any() and not teacher.grad.any()


def test_half_precision_is_computed_in_float32():
    teacher, student = (rows.detach() * 60 for rows in inputs("emb"))
    assert (squared_distances(teacher) > torch.finfo(torch.float16).max / 4).any()
    found = PairwiseDistanceLoss()(teacher.half(), student.half())
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(PairwiseDistanceLoss()(teacher, student).item(), rel=1e-2)
