"""GiLt, identity losses on the holistic embeddings and a triplet loss on the parts, against BPBreID's values."""

import pytest
import torch
from bpbreid_values import GOLDEN, u, values
from drop.losses import PartCompactnessTriplet

from mdpr_fastreid.modeling.losses import CrossEntropyLoss

GILT = GOLDEN["gilt"]
TARGETS = torch.tensor(GILT["inputs"]["labels"])
LOGITS = {"globl/c": 4 * u(10, 8, 4), "foreg/c": 4 * u(11, 8, 4), "conct/c": 4 * u(12, 8, 4)}
# The plugin's loss shares epsilon among the other classes alone, BPBreID's among all four
IDENTITY = CrossEntropyLoss(epsilon=0.1 * 3 / 4)


def test_without_visibility_the_sum_is_bpbreids():
    expected = GILT["results"]["use_visibility=False/binary"]
    found = {name: IDENTITY(logits, TARGETS).item() for name, logits in LOGITS.items()}
    found["parts/t"] = PartCompactnessTriplet()(u(1, 8, 3, 5), TARGETS).item()
    assert found == pytest.approx({name: expected[name] for name in found}, abs=1e-9)
    assert sum(found.values()) == pytest.approx(expected["total"], abs=1e-9)


@pytest.mark.parametrize("kind", ["binary", "continuous"])
def test_with_visibility_a_mean_weighted_by_it_is_bpbreids(kind):
    parts = u(2, 8, 3) + 0.5
    holistic = parts.amax(dim=1)
    if kind == "binary":
        parts = values(GOLDEN["part_averaged_triplet"]["inputs"]["visibility_binary"])
        holistic = values(GILT["inputs"]["holistic_visibility_binary"])
    expected = GILT["results"][f"use_visibility=True/{kind}"]
    for name, logits in LOGITS.items():
        weights = torch.ones(8).double() if name == "globl/c" else holistic
        rows = torch.stack([IDENTITY(logits[i : i + 1], TARGETS[i : i + 1]) for i in range(8)])
        assert ((rows * weights).sum() / weights.sum()).item() == pytest.approx(expected[name], abs=1e-9), name
    triplet = PartCompactnessTriplet()(u(1, 8, 3, 5), TARGETS, parts)
    assert triplet.item() == pytest.approx(expected["parts/t"], abs=1e-9)
