"""What the head gives its losses: which memory at which iteration, which parts, which smoothing."""

import pytest
import torch
import torch.nn.functional as F
from fastreid.layers import any_softmax
from fastreid.utils.events import EventStorage
from small_drop import small

from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.modeling import build_model

SIZE = (4, 2)


class Recorder(torch.nn.Module):
    """Stands for the triplet loss, and keeps what it is called with, as it was then."""

    def __init__(self):
        super().__init__()
        self.visibility, self.identities = [], []

    def forward(self, parts, targets, visibility, bank):
        self.visibility.append(visibility)
        self.identities.append(None if bank is None else bank.targets[bank.targets >= 0].tolist())
        return parts.sum() * 0


@pytest.fixture
def recorded():
    """A head with its overrides, in training, and what its triplet loss is called with."""

    def build(*overrides):
        head = build_model(small(*overrides)).heads.train()
        head.triplet = Recorder()
        return head, head.triplet

    return build


def losses_of(head, targets, probabilities=None, classes=None):
    channels = head.reductions["whole"][0].in_features
    if probabilities is None:
        probabilities = torch.full((len(targets), 6, *SIZE), 1 / 6)
    if classes is None:
        classes = torch.ones(len(targets), *SIZE, dtype=torch.uint8)
    return head.losses(head.learn(torch.rand(len(targets), channels, *SIZE), probabilities, classes), targets)


@pytest.mark.parametrize(("setting", "first"), [(0, 0), (3, 3), (-1, 4)])
def test_the_memory_is_used_from_its_iteration_on_as_it_was_before_the_batch(recorded, setting, first):
    head, calls = recorded("MODEL.DROP.PCT.BANK_FROM_ITER", setting, "SOLVER.WARMUP_ITERS", 4)
    with EventStorage(0) as storage:
        for step in range(6):
            losses_of(head, torch.tensor([2 * step, 2 * step + 1]))
            storage.step()
    assert calls.identities == [None] * first + [list(range(2 * step)) for step in range(first, 6)]
    assert head.memory.targets[:12].tolist() == list(range(12))


def test_a_training_loop_without_iterations_uses_the_memory_from_the_first_step_on(recorded):
    head, calls = recorded()
    for _ in range(2):
        losses_of(head, torch.tensor([0, 1]))
    assert calls.identities == [[], [0, 1]]


MASK, PREDICTED, NOTHING = [1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("target", [MASK, PREDICTED, [0, 0, 0, 0, 1], NOTHING]),
        ("predicted", [PREDICTED] * 4),
        ("none", None),
    ],
)
def test_an_image_is_compared_by_the_parts_in_its_mask_or_if_it_has_none_by_those_predicted(recorded, kind, expected):
    head, calls = recorded("MODEL.DROP.PCT.VISIBILITY", kind)
    classes = torch.zeros(4, *SIZE, dtype=torch.uint8)
    classes[0, 0, :] = torch.tensor([1, 2])
    classes[1] = 255
    classes[2], classes[2, 0, 0] = 255, 5
    probabilities = torch.zeros(4, 6, *SIZE)
    probabilities[:, 3] = 1
    losses_of(head, torch.arange(4), probabilities, classes)
    (found,) = calls.visibility
    assert (found if found is None else found.tolist()) == expected
    assert head.memory.visibility[:4].tolist() == (expected or [[1] * 5] * 4)


def test_smoothed_labels_share_epsilon_among_all_classes_as_bpbreids():
    loss = build_model(small("MODEL.HEADS.NUM_CLASSES", 3)).heads.identity_loss
    logits, targets = torch.randn(7, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 2, 1, 0, 0])
    wanted = torch.full((7, 3), 0.1 / 3, dtype=torch.float64)
    wanted[torch.arange(7), targets] = 1 - 0.1 + 0.1 / 3
    expected = -(wanted * logits.log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(loss(logits, targets), expected, atol=1e-12, rtol=0)


def test_adaptive_smoothing_has_its_strength_from_the_config():
    loss = build_model(small("MODEL.LOSSES.CE.EPSILON", -1.0, "MODEL.LOSSES.CE.ALPHA", 0.45)).heads.identity_loss
    assert loss.epsilon < 0 and loss.alpha == 0.45


@pytest.mark.parametrize(
    ("layer", "scale", "margin"),
    [("Linear", 2, 0.0), ("CosSoftmax", 16, 0.2), ("ArcSoftmax", 8, 0.1), ("CircleSoftmax", 64, 0.35)],
)
def test_identities_are_classified_by_the_layer_that_fastreids_keys_name(layer, scale, margin):
    torch.manual_seed(0)
    settings = ("MODEL.HEADS.CLS_LAYER", layer, "MODEL.HEADS.SCALE", scale, "MODEL.HEADS.MARGIN", margin)
    head = build_model(small(*settings)).heads.train().double()
    targets = torch.tensor([0, 1, 2, 15, 3, 3])
    features = torch.rand(6, head.reductions["whole"][0].in_features, *SIZE, dtype=torch.float64)
    learnt = head.learn(features, torch.full((6, 6, *SIZE), 1 / 6, dtype=torch.float64), torch.ones(6, *SIZE).byte())
    losses = head.losses(learnt, targets)
    embeddings = head.necks["whole"](learnt.pooled.whole)
    weight = head.classifiers["whole"].weight
    logits = embeddings @ weight.T if layer == "Linear" else F.normalize(embeddings) @ F.normalize(weight).T
    logits = getattr(any_softmax, layer)(16, scale, margin)(logits.clone(), targets)
    torch.testing.assert_close(losses["loss_cls_whole"], head.identity_loss(logits, targets), rtol=1e-12, atol=0)
    losses["loss_cls_whole"].backward()
    assert head.classifiers["whole"].weight.grad.abs().sum() > 0


def test_a_layer_that_fastreid_has_not_is_named_with_those_it_has():
    for name in ("CircleSoftMax", "nn"):
        with pytest.raises(SettingsError, match=f"CLS_LAYER '{name}' is none of FastReID's layers: Linear, ArcSoftmax"):
            build_model(small("MODEL.HEADS.CLS_LAYER", name))
