"""The head of a video network against VKD's values: averaged features, logits averaged behind the classifier."""

import pytest
import torch
from mdkt.heads import FrameHead
from vkd_values import GOLDEN, gen, values

HEAD = GOLDEN["head"]


@pytest.fixture
def head():
    head = FrameHead(channels=5, identities=3).double()
    with torch.no_grad():
        head.neck.weight.copy_(gen(HEAD["inputs"]["bn_weight"]) + 1)
        head.classifier.weight.copy_(gen(HEAD["inputs"]["classifier_weight"]))
    return head


MAPS = gen(HEAD["inputs"]["frames"])[..., None, None]


def test_embeddings_logits_and_statistics_are_vkds(head):
    trained = head.train()(MAPS)
    torch.testing.assert_close(trained.embedding, values(HEAD["embedding"]), atol=1e-9, rtol=0)
    torch.testing.assert_close(trained.logits, values(HEAD["logits_train"]), atol=1e-9, rtol=0)
    torch.testing.assert_close(head.neck.running_mean, values(HEAD["running_mean"]), atol=1e-9, rtol=0)
    torch.testing.assert_close(head.neck.running_var, values(HEAD["running_var"]), atol=1e-9, rtol=0)
    evaluated = head.eval()(MAPS)
    torch.testing.assert_close(evaluated.embedding, values(HEAD["embedding"]), atol=1e-9, rtol=0)
    torch.testing.assert_close(evaluated.logits, values(HEAD["logits_eval"]), atol=1e-9, rtol=0)


def test_a_map_is_averaged_over_its_cells_in_float32_at_least(head):
    maps = torch.randn(2, 3, 5, 4, 2).half()
    frames = FrameHead.frame_features(maps)
    assert frames.dtype == torch.float32
    torch.testing.assert_close(frames, maps.float().flatten(3).mean(dim=3))
    assert FrameHead.frame_features(maps[:, 0].double()).shape == (2, 5)


def test_logits_of_half_precision_are_averaged_in_float32(head):
    frames = torch.randn(2, 8, 5)
    head = head.float().eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits, each = head.logits(frames), head.classifier(head.neck(frames.flatten(0, 1)))
    assert (each.dtype, logits.dtype) == (torch.bfloat16, torch.float32)
    assert torch.equal(logits, each.unflatten(0, (2, 8)).float().mean(dim=1))


def test_the_shift_of_the_neck_stays_0_and_what_no_loss_reads_gets_no_gradient(head):
    assert {name for name, p in head.named_parameters() if p.requires_grad} == {"neck.weight", "classifier.weight"}
    assert not head.neck.bias.any()
    head.set_trained(False)
    assert not any(p.requires_grad for p in head.parameters())
    head.set_trained(True)
    assert not head.neck.bias.requires_grad
