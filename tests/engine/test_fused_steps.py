"""Fused optimizer steps are the stock ones: resumed, scaled, clipped; and the host reads nothing for them."""

import copy

import pytest
import torch
from fastreid.engine import DefaultTrainer
from support.host_reads import HostReads
from support.settings import small_config
from torch import nn

from mdpr_fastreid.engine.trainer import Trainer

OPTIMIZERS = [
    ("SOLVER.OPT", "Adam"),
    ("SOLVER.OPT", "AdamW"),
    ("SOLVER.OPT", "SGD"),
    ("SOLVER.OPT", "SGD", "SOLVER.NESTEROV", True),
    ("SOLVER.OPT", "SGD", "SOLVER.MOMENTUM", 0.0),
]


def network():
    torch.manual_seed(0)
    # No bias before the batch norm: its gradient is rounding, which Adam would enlarge
    return nn.Sequential(nn.Linear(6, 5, bias=False), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2))


def built(builder, *options):
    model = network()
    optimizer, _ = builder.build_optimizer(small_config("SOLVER.BASE_LR", 0.01, *options), model)
    return model, optimizer


def train(model, optimizer, steps, scaler=None):
    for seed in range(steps):
        optimizer.zero_grad()
        images = torch.rand(8, 6, generator=torch.Generator().manual_seed(seed))
        loss = model(images).square().sum()
        (loss if scaler is None else scaler.scale(loss)).backward()
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()


def assert_same_weights(ours, stock):
    for one, other in zip(ours.parameters(), stock.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", OPTIMIZERS, ids=str)
def test_a_fused_step_is_the_stock_step(options):
    (model, fused), (stock_model, stock) = built(Trainer, *options), built(DefaultTrainer, *options)
    assert all(group["fused"] is True for group in fused.param_groups)
    assert all(group["fused"] is None for group in stock.param_groups)
    train(model, fused, 3)
    train(stock_model, stock, 3)
    assert_same_weights(model, stock_model)


def test_the_switch_leaves_the_stock_step_and_so_do_other_optimizers():
    assert built(Trainer, "SOLVER.FUSED", False)[1].param_groups[0]["fused"] is None
    assert "fused" not in built(Trainer, "SOLVER.OPT", "RMSprop")[1].param_groups[0]


@pytest.mark.parametrize("options", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("fused", [True, False])
def test_a_state_of_the_other_kind_is_resumed_as_the_switch_says(options, fused):
    model, optimizer = built(Trainer, *options, "SOLVER.FUSED", not fused)
    train(model, optimizer, 2)
    state = copy.deepcopy(optimizer.state_dict())
    resumed_model, resumed = built(Trainer, *options, "SOLVER.FUSED", fused)
    resumed_model.load_state_dict(model.state_dict())
    resumed.load_state_dict(state)
    assert all(group["fused"] is (True if fused else None) for group in resumed.param_groups)
    train(model, optimizer, 2)
    train(resumed_model, resumed, 2)
    assert_same_weights(resumed_model, model)


@pytest.mark.parametrize("options", OPTIMIZERS, ids=str)
def test_overflows_are_skipped_as_by_the_stock_step_without_a_read(options):
    after = []
    for builder in (Trainer, DefaultTrainer):
        model, optimizer = built(builder, *options)
        # Beyond float32 at first, so the first steps overflow and the scale is halved until they do not
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
        with HostReads() as reads:
            train(model, optimizer, 12, scaler)
        after.append((model, scaler.get_scale(), reads.names))
    (ours, our_scale, our_reads), (stock, stock_scale, stock_reads) = after
    assert our_reads == []
    assert len(stock_reads) >= 12
    assert our_scale == stock_scale < 2.0**127
    assert not torch.equal(ours[0].weight, network()[0].weight)
    assert_same_weights(ours, stock)


def test_scaled_gradients_are_clipped_at_their_own_size():
    clipping = ("SOLVER.CLIP_GRADIENTS.ENABLED", True, "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "value")
    clipping += ("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 0.01, "SOLVER.OPT", "SGD")
    scaled, plain = built(Trainer, *clipping), built(Trainer, *clipping)
    train(*scaled, 3, torch.amp.GradScaler("cpu", init_scale=1024.0))
    train(*plain, 3)
    assert_same_weights(scaled[0], plain[0])
