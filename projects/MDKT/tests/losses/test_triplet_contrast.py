"""TCL against closed values and derivatives, the formula in a loop, finite differences; its edge cases."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mdkt.losses import MutualLogitsDistillation, PairwiseDistanceLoss, TripletContrastLoss, bernoulli_divergence
from slow_loops import contrast, mined
from vkd_values import TARGETS, inputs

TINY = 1e-14


@pytest.mark.parametrize(
    ("u_t", "u_s", "t2s", "s2t"), [(1, 0, 0.1109440717, 0.1201145070), (3, -1, 1.0749708432, 1.6595599786)]
)
def test_the_divergence_has_its_closed_values(u_t, u_s, t2s, s2t):
    u_t, u_s = torch.tensor(u_t).double(), torch.tensor(u_s).double()
    assert bernoulli_divergence(u_t, u_s).item() == pytest.approx(t2s, abs=5e-11)
    assert bernoulli_divergence(u_s, u_t).item() == pytest.approx(s2t, abs=5e-11)


@given(st.floats(-20, 20), st.floats(-20, 20))
@settings(max_examples=60, deadline=None)
def test_its_derivatives_are_the_closed_ones(u_t, u_s):
    u_t, u_s = (torch.tensor(u, dtype=torch.float64, requires_grad=True) for u in (u_t, u_s))
    bernoulli_divergence(u_t, u_s).backward()
    p_t, p_s = u_t.detach().sigmoid(), u_s.detach().sigmoid()
    torch.testing.assert_close(u_s.grad, p_s - p_t, atol=1e-12, rtol=1e-9)
    torch.testing.assert_close(u_t.grad, p_t * (-u_t.detach()).sigmoid() * (u_t - u_s).detach(), atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 5.0])
@pytest.mark.parametrize("mining", ["teacher", "student", "source"])
def test_it_is_the_formula_in_a_loop(temperature, mining):
    teacher, student = (rows.tolist() for rows in inputs("emb"))
    of_teacher, of_student = mined(teacher, TARGETS.tolist()), mined(student, TARGETS.tolist())
    first = of_student if mining == "student" else of_teacher
    second = of_teacher if mining == "teacher" else of_student
    expected = {
        "t2s": contrast(teacher, student, first, temperature),
        "s2t": contrast(student, teacher, second, temperature),
    }
    expected["both"] = sum(expected.values())
    for direction, value in expected.items():
        loss = TripletContrastLoss(temperature=temperature, mining=mining, direction=direction, reduction="sum")
        assert loss(*inputs("emb"), TARGETS).item() == pytest.approx(value, rel=1e-10)
        loss = TripletContrastLoss(temperature=temperature, mining=mining, direction=direction)
        assert loss(*inputs("emb"), TARGETS).item() == pytest.approx(value / 9, rel=1e-10)


def test_by_default_the_teacher_mines_both_directions_at_temperature_1_unweighted():
    teacher, student = (rows.tolist() for rows in inputs("emb"))
    triplets = mined(teacher, TARGETS.tolist())
    expected = (contrast(teacher, student, triplets, 1) + contrast(student, teacher, triplets, 1)) / 9
    assert TripletContrastLoss()(*inputs("emb"), TARGETS).item() == pytest.approx(expected, rel=1e-10)
    assert TripletContrastLoss(scale=3)(*inputs("emb"), TARGETS).item() == pytest.approx(3 * expected, rel=1e-10)


def test_the_soft_margin_triplet_is_minus_log_p():
    teacher, student = inputs("emb")
    p = TripletContrastLoss().probabilities(teacher, student, TARGETS)
    from mdpr_fastreid.modeling.losses import TripletLoss

    expected = TripletLoss(margin=0)(teacher, TARGETS).item()
    assert -p.teacher.log().mean().item() == pytest.approx(expected, abs=1e-9)
    assert p.valid.all()


@pytest.mark.parametrize("options", [{}, {"temperature": 3.0, "mining": "source"}, {"reduction": "sum"}])
def test_gradients_are_those_of_finite_differences(options):
    teacher, student = inputs("emb")
    loss = TripletContrastLoss(detach=False, **options)
    assert torch.autograd.gradcheck(lambda t, s: loss(t, s, TARGETS), (teacher, student))
    loss = TripletContrastLoss(direction="t2s", **options)
    assert torch.autograd.gradcheck(lambda learner: loss(teacher, learner, TARGETS), student)
    loss = TripletContrastLoss(direction="s2t", **options)
    assert torch.autograd.gradcheck(lambda learner: loss(learner, student, TARGETS), teacher)


def test_each_direction_trains_one_network_and_their_sum_both():
    teacher, student = inputs("emb")
    both = torch.autograd.grad(TripletContrastLoss()(teacher, student, TARGETS), (teacher, student))
    for direction, of in (("s2t", 0), ("t2s", 1)):
        loss = TripletContrastLoss(direction=direction)(teacher, student, TARGETS)
        alone = torch.autograd.grad(loss, (teacher, student), allow_unused=True)
        assert alone[1 - of] is None
        torch.testing.assert_close(alone[of], both[of], atol=TINY, rtol=0)


def test_exchanging_the_networks_exchanges_the_directions():
    teacher, student = inputs("emb")
    to_student = TripletContrastLoss(direction="t2s", mining="teacher")(teacher, student, TARGETS)
    exchanged = TripletContrastLoss(direction="s2t", mining="student")(student, teacher, TARGETS)
    assert to_student == exchanged


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("mining", ["teacher", "student", "source"])
def test_equal_networks_cost_nothing_and_move_nothing(detach, mining):
    teacher, _ = inputs("emb")
    student = teacher.detach().clone().requires_grad_()
    loss = TripletContrastLoss(detach=detach, mining=mining)(teacher, student, TARGETS)
    loss.backward()
    assert loss == 0
    assert max(teacher.grad.abs().max(), student.grad.abs().max()) < TINY


def test_a_positive_as_far_as_the_negative_is_exactly_half_sure():
    corners = torch.tensor([[0.0, 0], [3, 0], [0, 3]]).double()
    p = TripletContrastLoss().probabilities(corners, corners * 2, torch.tensor([0, 0, 1]))
    assert p.teacher[0] == p.student[0] == 0.5


def test_for_a_large_temperature_it_is_the_squared_difference_of_margins():
    teacher, student = (rows.detach() for rows in inputs("emb"))
    one = TripletContrastLoss(temperature=1).probabilities(teacher, student, TARGETS)
    gaps = torch.logit(one.teacher) - torch.logit(one.student)
    tau = 1e3
    found = TripletContrastLoss(temperature=tau, direction="t2s")(teacher, student, TARGETS) * 8 * tau**2
    assert found.item() == pytest.approx(gaps.square().mean().item(), rel=1e-4)


def test_a_small_temperature_stays_finite():
    teacher, student = inputs("emb")
    loss = TripletContrastLoss(temperature=1e-3, detach=False)(teacher, student, TARGETS)
    loss.backward()
    assert loss.isfinite() and teacher.grad.isfinite().all() and student.grad.isfinite().all()


@pytest.mark.parametrize("targets", [torch.zeros(9).long(), torch.arange(9)])
def test_a_batch_without_a_triplet_costs_nothing(targets):
    teacher, student = inputs("emb")
    loss = TripletContrastLoss(detach=False)(teacher, student, targets)
    loss.backward()
    assert loss == 0 and not teacher.grad.any() and not student.grad.any()


def test_an_identity_alone_is_no_anchor_but_a_negative():
    teacher, student = inputs("emb")
    targets = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 3])
    rows = teacher.tolist(), student.tolist()
    triplets = mined(rows[0], targets.tolist())
    assert len(triplets) == 8
    found = TripletContrastLoss(direction="t2s")(teacher, student, targets)
    assert found.item() == pytest.approx(contrast(*rows, triplets, 1) / 8, rel=1e-10)
    assert TripletContrastLoss().probabilities(teacher, student, targets).valid.tolist() == [True] * 8 + [False]


@pytest.mark.parametrize("normalize", [True, False])
def test_coinciding_embeddings_and_duplicated_clips_have_finite_gradients(normalize):
    teacher, student = inputs("emb")
    for rows in (student[:1].expand(9, -1), student[[0, 0, 2, 3, 3, 5, 6, 6, 6]]):
        learner = rows.detach().clone().requires_grad_()
        loss = TripletContrastLoss(normalize=normalize, detach=False)(teacher, learner, TARGETS)
        loss.backward()
        assert loss.isfinite() and learner.grad.isfinite().all()


@given(st.permutations(list(range(9))))
@settings(max_examples=20, deadline=None)
def test_the_order_of_the_batch_changes_nothing(order):
    teacher, student = inputs("emb")
    for mining in ("teacher", "student", "source"):
        loss = TripletContrastLoss(mining=mining)
        found = loss(teacher[order], student[order], TARGETS[order]).item()
        assert found == pytest.approx(loss(teacher, student, TARGETS).item(), rel=1e-12)


def test_normalised_distances_do_not_know_the_scale_of_a_network():
    teacher, student = inputs("emb")
    loss = TripletContrastLoss(normalize=True)
    expected = loss(teacher, student, TARGETS).item()
    assert loss(teacher * 50, student[:, :] / 9, TARGETS).item() == pytest.approx(expected, rel=1e-6)


def test_half_precision_is_computed_in_float32():
    teacher, student = (rows.detach() for rows in inputs("emb"))
    found = TripletContrastLoss()(teacher.half(), student.half(), TARGETS)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(TripletContrastLoss()(teacher, student, TARGETS).item(), rel=1e-2)


def test_arguments_that_cannot_be_are_errors_that_name_them():
    with pytest.raises(ValueError, match="mining must be 'teacher', 'student' or 'source', got 'hard'"):
        TripletContrastLoss(mining="hard")
    with pytest.raises(ValueError, match="temperature must be greater than 0, got -1"):
        TripletContrastLoss(temperature=-1)
    with pytest.raises(ValueError, match=r"targets must be \[B\], one for each of 9 samples, got \[4\]"):
        TripletContrastLoss()(*inputs("emb"), TARGETS[:4])


@pytest.mark.parametrize("loss", [MutualLogitsDistillation(), PairwiseDistanceLoss(), TripletContrastLoss()])
def test_a_batch_without_a_sample_is_an_error(loss):
    targets = [torch.zeros(0, dtype=torch.long)] * isinstance(loss, TripletContrastLoss)
    with pytest.raises(ValueError, match="the batch has no sample"):
        loss(torch.zeros(0, 5), torch.zeros(0, 5), *targets)
