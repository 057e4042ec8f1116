"""Batch-hard mining by indices against VKD's, and against a loop over all triplets."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mdkt.losses import distances, hardest_triplets
from slow_loops import mined
from vkd_values import RESULTS, TARGETS, inputs, values

from mdpr_fastreid.modeling.losses import TripletLoss

GOLDEN = RESULTS["triplet"]


@pytest.mark.parametrize("who", ["teacher", "student"])
def test_indices_and_distances_are_vkds(who):
    between = distances(inputs("emb")[who == "student"].detach())
    triplets = hardest_triplets(between, TARGETS)
    for found, kind in ((triplets.positives, "positive"), (triplets.negatives, "negative")):
        expected = values(GOLDEN[f"hardest_{kind}_{who}"])
        assert found.tolist() == expected[:, 0].tolist()
        torch.testing.assert_close(between.gather(1, found[:, None])[:, 0], expected[:, 1], atol=1e-9, rtol=0)


@pytest.mark.parametrize("who", ["teacher", "student"])
def test_the_triplet_loss_of_both_networks_is_vkds(who):
    # The plugin's loss has one reduction, the mean; the sum is nine times as much
    embedding = inputs("emb")[who == "student"]
    for margin, name in ((0, "soft"), (0.3, "0.3")):
        loss = TripletLoss(margin=margin)(embedding, TARGETS).item()
        assert loss == pytest.approx(GOLDEN[f"{name} mean {who}_emb"]["value"], abs=1e-9)
        assert 9 * loss == pytest.approx(GOLDEN[f"{name} sum {who}_emb"]["value"], abs=1e-8)


def test_the_triplet_losss_gradient_is_vkds():
    _, student = inputs("emb")
    TripletLoss(margin=0)(student, TARGETS).backward()
    torch.testing.assert_close(student.grad, values(GOLDEN["soft mean student_emb"]["grad"]), atol=1e-9, rtol=0)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=10), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_it_finds_what_a_loop_over_all_triplets_finds(targets, seed):
    embedding = torch.randn(len(targets), 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = hardest_triplets(distances(embedding), torch.tensor(targets))
    rows = zip(range(len(targets)), found.positives.tolist(), found.negatives.tolist(), strict=True)
    chosen = [row for row, valid in zip(rows, found.valid.tolist(), strict=True) if valid]
    assert chosen == mined(embedding.tolist(), targets)
