"""Attention and maps of the soft content branch."""

import torch

from mdpr_fastreid.modeling.branches import SoftContentBranch


def test_guidance_lets_stage_4_reach_the_attention_of_stage_3():
    x3, x4 = torch.randn(2, 6, 4, 2), torch.randn(2, 8, 4, 2)
    for guided in (True, False):
        torch.manual_seed(0)
        branch = SoftContentBranch(6, 8, 5, maps=2, guided=guided).eval()
        before, after = branch.attention(x3, x4), branch.attention(x3, x4 + torch.randn_like(x4))
        assert not torch.equal(before.granularity4, after.granularity4)
        assert torch.equal(before.granularity3, after.granularity3) is not guided


def test_what_is_pooled_comes_from_the_refined_stage_3():
    branch = SoftContentBranch(6, 8, 5, maps=2).eval()
    x3, x4 = torch.randn(2, 6, 4, 2), torch.randn(2, 8, 4, 2)
    content = branch(x3, x4)
    refined = branch.refine3(x3)
    torch.testing.assert_close(content.map3, branch.embedding3(refined))
    torch.testing.assert_close(content.pooled.granularity3, branch.pooling3(refined, content.attention.granularity3))
    assert content.pooled.granularity4.shape == (2, 2, 5)


def test_stage_3_alone_needs_no_stage_4():
    content = SoftContentBranch(6, 8, 5, maps=2).eval()(torch.randn(1, 6, 4, 2), None, map4=False, attention=False)
    assert content.map3.shape == (1, 5, 4, 2)
    assert content.map4 is None and content.attention is None and content.pooled is None
