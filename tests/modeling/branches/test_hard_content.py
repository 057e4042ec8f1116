"""Stripes of the hard content branch."""

import pytest
import torch

from mdpr_fastreid.modeling.branches import HardContentBranch


@pytest.mark.parametrize("rows", range(1, 26))
@pytest.mark.parametrize("parts", range(1, 9))
def test_no_row_is_lost_and_stripes_differ_by_at_most_one_row(rows, parts):
    branch = HardContentBranch(3, 2, parts).eval()
    features = torch.randn(1, 3, rows, 2)
    if parts > rows:
        with pytest.raises(ValueError, match=f"cannot cut {rows} rows into {parts} stripes: lower MODEL.MDPR.PARTS"):
            branch(features)
        return
    stripes = branch(features).stripe_maps
    heights = [stripe.size(2) for stripe in stripes]
    assert len(stripes) == parts and sum(heights) == rows and max(heights) - min(heights) <= 1
    top = 0
    for embed, stripe, height in zip(branch.stripe_embeddings, stripes, heights, strict=True):
        torch.testing.assert_close(stripe, embed(features[:, :, top : top + height]))
        top += height


def test_only_what_is_asked_for_is_computed():
    branch, features = HardContentBranch(3, 2, 2).eval(), torch.randn(1, 3, 4, 2)
    assert branch(features, global_map=False).global_map is None
    assert branch(features, stripe_maps=False).stripe_maps is None
