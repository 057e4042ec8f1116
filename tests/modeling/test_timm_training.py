"""What changes how a training step is computed works on timm's backbones: recomputing, layouts, compiling, AMP, DDP."""

import copy

import pytest
import torch
import torch.distributed as dist
from fastreid.utils.events import EventStorage
from support.timm_families import METHODS, SIZE, timm_config

from mdpr_fastreid.engine.launch import distributed, launch
from mdpr_fastreid.modeling import build_model
from mdpr_fastreid.modeling.backbones import branched
from mdpr_fastreid.modeling.backbones.recomputing import recomputed
from mdpr_fastreid.modeling.compilation import compile_in_training

BATCH = {
    "images": torch.rand(8, 3, *SIZE, generator=torch.Generator().manual_seed(0)) * 255,
    "targets": torch.arange(8) // 2,
}
STOCHASTIC_DEPTH = ["MODEL.BACKBONE.TIMM.DROP_PATH", 0.3]
"""Random layers, which have to draw the same when they are computed again."""


def losses_of(model, batch):
    """Of a batch that stays as it is; FastReID's architectures write into an event storage."""
    with EventStorage():
        return model({name: values.clone() for name, values in batch.items()})


def step(family, *overrides, double=True):
    """Losses, gradients and buffers of a training step, by name."""
    torch.manual_seed(0)
    model = build_model(timm_config(family, *STOCHASTIC_DEPTH, *overrides)).train()
    images = BATCH["images"]
    if double:
        model, images = model.double(), images.double()
    torch.manual_seed(1)
    losses = model({"images": images, "targets": BATCH["targets"]})
    sum(losses.values()).backward()
    gradients = {f"gradient of {name}": p.grad for name, p in model.named_parameters() if p.requires_grad}
    return {name: loss.detach() for name, loss in losses.items()} | gradients | dict(model.named_buffers())


@pytest.mark.parametrize("family", ["vit", "eva02", "swin", "hiera", "convnext", "efficientnet"])
def test_recomputed_stages_give_the_same_losses_gradients_and_statistics(family, monkeypatch):
    calls = []
    monkeypatch.setattr(branched, "recomputed", lambda stage, x: calls.append(x.dim()) or recomputed(stage, x))
    plain, again = step(family), step(family, "MODEL.MDPR.CHECKPOINT_STAGES", (3, 4))
    assert len(calls) == 4
    assert plain.keys() == again.keys()
    for name, expected in plain.items():
        torch.testing.assert_close(again[name], expected, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("family", ["vit", "swin", "convnext", "mobilenetv4"])
def test_images_with_channels_last_give_the_same(family):
    plain, last = step(family), step(family, "MODEL.CHANNELS_LAST", True)
    assert plain.keys() == last.keys()
    for name, expected in plain.items():
        scale = float(expected.abs().max()) + 1e-6
        torch.testing.assert_close(last[name], expected, rtol=1e-6, atol=1e-6 * scale, msg=name)


@pytest.mark.parametrize("family", ["vit", "convnext"])
def test_pieces_compile_and_give_the_same(family):
    torch.manual_seed(0)
    backbone = build_model(timm_config(family)).backbone.train()
    torch._dynamo.reset()  # it compiles a function for so many shapes only
    plain, graphs = copy.deepcopy(backbone), []
    compiling = torch.compile

    def counting(graph, _):
        graphs.append(graph)
        return graph

    with pytest.MonkeyPatch.context() as patch:
        # Dynamo without a C++ compiler, which may not be here
        patch.setattr(torch, "compile", lambda function: compiling(function, backend=counting))
        stages = [one for branch in (backbone.hard, backbone.soft) for one in (branch.stage3, branch.stage4)]
        compile_in_training([backbone.trunk, *stages])
    images = torch.randn(2, 3, *SIZE)
    torch.manual_seed(1)
    found = backbone(images)
    torch.manual_seed(1)
    expected = plain(images)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert len(graphs) >= 3  # pieces of one structure share a graph


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", ["vit", "eva02", "swin", "convnext", "hiera", "mobilenetv4"])
def test_a_step_in_bfloat16_has_a_finite_loss_near_that_of_float32_and_every_gradient(family, method):
    torch.manual_seed(0)
    model = build_model(METHODS[method](family)).train()
    losses = []
    for enabled in (False, True):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses.append(sum(losses_of(model, BATCH).values()))
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=0.1)
    losses[1].backward()
    gradients = [p.grad for p in model.parameters() if p.requires_grad]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


def steps_of_two_processes(method, family):
    """Two steps: DDP refuses the second one where a parameter got no gradient in the first."""
    torch.manual_seed(0)
    model = distributed(build_model(METHODS[method](family)).train())
    assert not model.find_unused_parameters
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    half = slice(4 * dist.get_rank(), 4 * dist.get_rank() + 4)
    for _ in range(2):
        losses = losses_of(model, {name: values[half] for name, values in BATCH.items()})
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    # The same in both processes
    mine = torch.cat([p.detach().flatten() for p in model.parameters()])
    other = mine.clone()
    dist.broadcast(other, src=0)
    assert torch.equal(mine, other)
    assert mine.isfinite().all()


@pytest.mark.parametrize(("method", "family"), [("MDPR", "swin")])
def test_two_processes_train_without_unused_parameters(method, family):
    launch(steps_of_two_processes, 2, dist_url="auto", args=(method, family))
