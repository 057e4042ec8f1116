"""PartCompactnessTriplet against golden values, against its formula in loops, and what it does not depend on."""

import math

import pytest
import torch
from bpbreid_values import GOLDEN, u, values
from drop.losses import LabelledParts, PartCompactnessTriplet
from torch.autograd import gradcheck

from mdpr_fastreid.errors import SettingsError

TRIPLET, UNION = GOLDEN["part_averaged_triplet"], GOLDEN["union_distances"]
MINE = {"part_averaged_triplet_loss": "average", "intra_parts_triplet_loss": "part"}
VISIBILITY = {
    "none": None,
    "binary": values(TRIPLET["inputs"]["visibility_binary"]),
    "continuous": u(2, 8, 3) + 0.5,
}
TARGETS = torch.tensor(TRIPLET["inputs"]["labels"])


def golden_bank():
    inputs = UNION["inputs"]
    return LabelledParts(u(3, 6, 3, 5), torch.tensor(inputs["bank_labels"]), values(inputs["bank_visibility"]))


def random_images(count, identities, seed, parts=3, dim=4):
    """Part embeddings, identities and continuous visibilities of which a third is 0, all float64."""
    rng = torch.Generator().manual_seed(seed)
    visibility = torch.rand(count, parts, generator=rng, dtype=torch.float64)
    return LabelledParts(
        torch.randn(count, parts, dim, generator=rng, dtype=torch.float64),
        torch.randint(identities, (count,), generator=rng),
        visibility * (torch.rand(count, parts, generator=rng) > 0.33),
    )


def slow(batch, bank, margin, mine, bank_for):
    """The formula in loops."""
    candidates = [*zip(*batch, range(len(batch.parts)), strict=True)]
    if bank is not None:
        candidates += [*zip(*bank, [None] * len(bank.parts), strict=True)]
    losses = []
    for chosen in [range(3)] if mine == "average" else [[0], [1], [2]]:
        for i, (anchor, target, visible) in enumerate(zip(*batch, strict=True)):
            positive, negative = [], []
            for parts, label, other_visible, j in candidates:
                weights = [math.sqrt(visible[k] * other_visible[k]) for k in chosen]
                if sum(weights) == 0:
                    continue
                distances = [(anchor[k] - parts[k]).norm().item() for k in chosen]
                distance = sum(w * d for w, d in zip(weights, distances, strict=True)) / sum(weights)
                if label != target:
                    negative.append(distance)
                elif j != i and (j is not None or bank_for == "both"):
                    positive.append(distance)
            if positive and negative:
                gap = max(positive) - min(negative)
                losses.append(max(0.0, gap + margin) if margin else math.log1p(math.exp(gap)))
    return sum(losses) / max(len(losses), 1)


@pytest.mark.parametrize("case", TRIPLET["results"])
def test_without_a_bank_it_is_bpbreids_loss(case):
    kind, margin, visibility = case.split("/")
    expected = TRIPLET["results"][case]
    visibility = VISIBILITY[visibility.removeprefix("visibility=")]
    loss = PartCompactnessTriplet(margin=float(margin.removeprefix("margin=")), mine=MINE[kind])
    parts = u(1, 8, 3, 5).requires_grad_()
    value = loss(parts, TARGETS, visibility)
    value.backward()
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(expected["loss"], abs=1e-9)
    assert parts.grad.norm().item() == pytest.approx(expected["gradient_norm"], abs=1e-9)
    torch.testing.assert_close(parts.grad[0], values(expected["gradient_of_first_image"]), atol=1e-9, rtol=0)
    valid = loss.triplets(parts, TARGETS, visibility).valid
    assert valid.double().mean().item() == pytest.approx(expected["valid_ratio"])


@pytest.mark.parametrize("kind", [torch.bool, torch.float32, torch.uint8])
def test_binary_visibility_is_bool_or_a_number(kind):
    expected = TRIPLET["results"]["part_averaged_triplet_loss/margin=0.3/visibility=binary"]["loss"]
    loss = PartCompactnessTriplet()(u(1, 8, 3, 5), TARGETS, VISIBILITY["binary"].to(kind))
    assert loss.item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("bank_for", "bank", "expected"),
    [
        ("negatives", golden_bank(), "bank for negatives"),
        ("both", golden_bank(), "bank for both"),
        ("negatives", None, "empty bank"),
        ("both", LabelledParts(*(field[:0] for field in golden_bank())), "empty bank"),
    ],
)
def test_a_bank_gives_the_values_of_the_specification(bank_for, bank, expected):
    loss = PartCompactnessTriplet(bank_for=bank_for)(u(1, 8, 3, 5), TARGETS, VISIBILITY["binary"], bank)
    assert loss.item() == pytest.approx(UNION["pct_of_the_specification"][expected], abs=1e-9)


@pytest.mark.parametrize("margin", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("mine", ["average", "part"])
@pytest.mark.parametrize("bank_for", ["negatives", "both"])
@pytest.mark.parametrize("stored", [None, 0, 30])
def test_equals_the_formula(margin, mine, bank_for, stored):
    for seed in range(3):
        batch = random_images(12, 4, seed)
        bank = None if stored is None else random_images(stored, 6, seed + 100)
        loss = PartCompactnessTriplet(margin=margin, mine=mine, bank_for=bank_for, scale=2.0)(*batch, bank)
        assert loss.item() == pytest.approx(2 * slow(batch, bank, margin, mine, bank_for), abs=1e-10)


@pytest.mark.parametrize("mine", ["average", "part"])
@pytest.mark.parametrize("bank_for", ["negatives", "both"])
def test_gradient_is_that_of_the_loss(mine, bank_for):
    batch, bank = random_images(8, 3, 7), random_images(10, 4, 8)
    loss = PartCompactnessTriplet(margin=3.0, mine=mine, bank_for=bank_for)
    assert gradcheck(
        lambda parts: loss(parts, batch.targets, batch.visibility, bank), (batch.parts.clone().requires_grad_(),)
    )


def test_float32_and_autocast_give_float32():
    batch, bank = random_images(12, 4, 0), random_images(30, 6, 1)
    expected = slow(batch, bank, 0.3, "average", "negatives")
    single = LabelledParts(batch.parts.float(), batch.targets, batch.visibility)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = PartCompactnessTriplet()(*single, bank)
        of_half = PartCompactnessTriplet()(batch.parts.bfloat16(), batch.targets, batch.visibility, bank)
    assert loss.dtype == of_half.dtype == torch.float32
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    assert of_half.item() == pytest.approx(expected, abs=2e-2)


@pytest.mark.parametrize("mine", ["average", "part"])
@pytest.mark.parametrize("value", [0.0, 1000.0])
def test_coinciding_embeddings_cost_the_margin_and_have_no_gradient(mine, value):
    parts = torch.full((4, 3, 5), value, requires_grad=True)
    loss = PartCompactnessTriplet(mine=mine)(parts, torch.tensor([0, 0, 1, 1]))
    loss.backward()
    assert loss.item() == pytest.approx(0.3)
    assert torch.equal(parts.grad, torch.zeros(4, 3, 5))


@pytest.mark.parametrize("mine", ["average", "part"])
@pytest.mark.parametrize("margin", [0.0, 0.3])
@pytest.mark.parametrize(
    ("targets", "visibility"),
    [([0, 0, 0, 0], None), ([0, 1, 2, 3], None), ([0, 0, 1, 1], torch.zeros(4, 3)), ([0, 0, 1, 1], torch.eye(4, 3))],
    ids=["no negative", "no positive", "nothing visible", "nothing in common"],
)
def test_without_a_triplet_it_is_zero_with_a_gradient(mine, margin, targets, visibility):
    parts = torch.randn(4, 3, 5, requires_grad=True)
    loss = PartCompactnessTriplet(mine=mine, margin=margin)(parts, torch.tensor(targets), visibility)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(parts.grad, torch.zeros(4, 3, 5))


def test_an_embedding_that_is_not_a_number_shows():
    parts = torch.randn(4, 3, 5)
    parts[0, 0, 0] = torch.nan
    assert PartCompactnessTriplet()(parts, torch.tensor([0, 0, 1, 1])).isnan()


@pytest.mark.parametrize("value", [1e30, torch.inf, torch.nan])
@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("mine", ["average", "part"])
def test_an_invisible_embedding_may_be_anything(mine, stored, value):
    batch, bank = random_images(8, 3, seed=4), random_images(9, 3, seed=5)
    criterion = PartCompactnessTriplet(mine=mine)

    def loss_and_gradient(batch, bank):
        parts = batch.parts.clone().requires_grad_()
        loss = criterion(parts, batch.targets, batch.visibility, bank)
        loss.backward()
        return loss, parts.grad

    def spoilt(images):
        parts = images.parts.masked_fill((images.visibility == 0)[..., None], value)
        assert not torch.equal(parts, images.parts)
        return images._replace(parts=parts)

    expected = loss_and_gradient(batch, bank)
    assert expected[0] > 0
    for ours, theirs in zip(loss_and_gradient(spoilt(batch), spoilt(bank) if stored else bank), expected, strict=True):
        assert torch.equal(ours, theirs)


def test_close_pairs_keep_their_distance_far_from_the_origin():
    parts = torch.tensor([[[1000.0, 0.0]], [[1000.0, 0.01]], [[1000.0, 1.0]], [[1000.0, 5.0]]])
    loss = PartCompactnessTriplet(margin=1.0)(parts, torch.tensor([0, 0, 1, 2]))
    assert loss.item() == pytest.approx((0.01 + 0.01 + 0.01) / 2, rel=1e-2)


def test_the_bank_and_visibilities_get_no_gradient():
    batch, bank = random_images(8, 3, 7), random_images(10, 4, 8)
    batch.parts.requires_grad_()
    others = [tensor.requires_grad_() for tensor in (batch.visibility, bank.parts, bank.visibility)]
    PartCompactnessTriplet(bank_for="both")(*batch, bank).backward()
    assert batch.parts.grad.norm() > 0
    assert all(tensor.grad is None for tensor in others)


@pytest.mark.parametrize("mine", ["average", "part"])
@pytest.mark.parametrize("bank_for", ["negatives", "both"])
class TestWhatItDoesNotDependOn:
    def loss(self, mine, bank_for, batch, bank):
        return PartCompactnessTriplet(mine=mine, bank_for=bank_for)(*batch, bank).item()

    def test_order(self, mine, bank_for):
        batch, bank = random_images(12, 4, 2), random_images(20, 6, 3)
        shuffled = [_permuted(images) for images in (batch, bank)]
        assert self.loss(mine, bank_for, *shuffled) == pytest.approx(self.loss(mine, bank_for, batch, bank), abs=1e-12)

    def test_a_vector_added_to_a_part_everywhere(self, mine, bank_for):
        batch, bank = random_images(12, 4, 2), random_images(20, 6, 3)
        moved = [images._replace(parts=images.parts + u(9, 3, 4) * 10) for images in (batch, bank)]
        assert self.loss(mine, bank_for, *moved) == pytest.approx(self.loss(mine, bank_for, batch, bank), abs=1e-12)

    def test_entries_that_cannot_be_the_hardest(self, mine, bank_for):
        batch, bank = random_images(12, 4, 2), random_images(20, 6, 3)
        before = self.loss(mine, bank_for, batch, bank)
        far = LabelledParts(torch.full((1, 3, 4), 50.0).double(), torch.tensor([5]), torch.ones(1, 3).double())
        invisible = LabelledParts(batch.parts[:1], torch.tensor([5]), torch.zeros(1, 3).double())
        for entry in (far, invisible):
            more = LabelledParts(*(torch.cat(pair) for pair in zip(bank, entry, strict=True)))
            assert self.loss(mine, bank_for, batch, more) == pytest.approx(before, abs=1e-12)

    def test_a_part_that_nobody_shows(self, mine, bank_for):
        batch, bank = ([*random_images(count, 4, seed)] for count, seed in ((12, 2), (20, 3)))
        for images in (batch, bank):
            images[2] = torch.cat([images[2], torch.zeros(len(images[2]), 1)], dim=1)
            images[0] = torch.cat([images[0], torch.randn(len(images[0]), 1, 4)], dim=1)
        with_it = self.loss(mine, bank_for, batch, LabelledParts(*bank))
        batch, bank = random_images(12, 4, 2), random_images(20, 4, 3)
        assert with_it == pytest.approx(self.loss(mine, bank_for, batch, bank), abs=1e-12)


def _permuted(images):
    order = torch.randperm(len(images.parts), generator=torch.Generator().manual_seed(0))
    return LabelledParts(*(field[order] for field in images))


def test_far_positives_of_the_bank_count_only_if_asked_for():
    batch = random_images(8, 3, 7)
    one = torch.ones(1, 3).double()
    bank = LabelledParts(torch.full((1, 3, 4), 50.0).double(), batch.targets[:1], one)
    for mine in ("average", "part"):
        alone = PartCompactnessTriplet(mine=mine)(*batch)
        assert PartCompactnessTriplet(mine=mine)(*batch, bank) == alone
        assert PartCompactnessTriplet(mine=mine, bank_for="both")(*batch, bank) > alone + 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mine": "parts"}, "MODEL.DROP.PCT.MINE must be average or part, got 'parts'"),
        ({"bank_for": "positives"}, "MODEL.DROP.PCT.BANK_FOR must be negatives or both"),
        ({"margin": -0.1}, "MODEL.DROP.PCT.MARGIN must be 0"),
    ],
)
def test_settings_that_do_not_exist_are_errors(options, message):
    with pytest.raises(SettingsError, match=message):
        PartCompactnessTriplet(**options)


def test_visibilities_and_banks_of_another_shape_are_errors():
    parts, targets = torch.randn(4, 3, 5), torch.tensor([0, 0, 1, 1])
    with pytest.raises(ValueError, match=r"visibilities must be \[images, parts\], got \[4, 1\] for parts \[4, 3, 5\]"):
        PartCompactnessTriplet()(parts, targets, torch.ones(4, 1))
    with pytest.raises(ValueError, match=r"the bank's parts are \[2, 5\], the batch's \[3, 5\]"):
        PartCompactnessTriplet()(parts, targets, None, LabelledParts(parts[:, :2], targets, None))
    with pytest.raises(ValueError, match=r"targets must be \[images\], got \[3\] for 4 images"):
        PartCompactnessTriplet()(parts, targets[:3])
    with pytest.raises(ValueError, match="a visibility is negative"):
        PartCompactnessTriplet()(parts, targets, torch.full((4, 3), -0.5))


@pytest.mark.parametrize("mine", ["average", "part"])
def test_an_empty_batch_costs_nothing(mine):
    parts, loss = torch.randn(0, 3, 5, requires_grad=True), PartCompactnessTriplet(mine=mine)
    cost = loss(parts, torch.zeros(0, dtype=torch.long), torch.ones(0, 3))
    cost.backward()
    assert cost.item() == 0 and parts.grad.shape == (0, 3, 5)


def test_a_bank_may_be_a_plain_tuple():
    parts, targets = torch.randn(4, 3, 5), torch.tensor([0, 0, 1, 1])
    bank = LabelledParts(torch.randn(6, 3, 5), torch.tensor([0, 1, 2, 2, 3, 3]), torch.ones(6, 3))
    assert torch.equal(
        PartCompactnessTriplet()(parts, targets, None, tuple(bank)),
        PartCompactnessTriplet()(parts, targets, None, bank),
    )


def test_what_is_compared_in_half_precision_is_what_the_loss_compares():
    for seed in range(50):
        rng = torch.Generator().manual_seed(seed)
        parts, targets = torch.randn(6, 2, 4, generator=rng).half(), torch.tensor([0, 0, 1, 1, 2, 2])
        bank = LabelledParts(torch.randn(20, 2, 4, generator=rng), torch.arange(20) % 5, None)
        found = PartCompactnessTriplet().triplets(parts, targets, None, bank)
        exact = PartCompactnessTriplet().triplets(parts.float(), targets, None, bank)
        assert all(map(torch.equal, found, exact))
