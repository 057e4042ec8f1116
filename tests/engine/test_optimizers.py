"""Optimizers train, are found, and remember how long layers were frozen."""

import copy
import re

import pytest
import torch
from fastreid.modeling import build_model
from fastreid.utils.events import EventStorage
from small_runs import small_config

from mdpr_fastreid.engine.optimizers import build_optimizer
from mdpr_fastreid.errors import SettingsError, UsageError


def model_and_config(tmp_path, *options):
    cfg = small_config(tmp_path, "MODEL.HEADS.NUM_CLASSES", 4, "SOLVER.BASE_LR", 0.01, *options)
    torch.manual_seed(0)
    return build_model(cfg), cfg


def step(model, optimizer, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(8, 3, 32, 16, generator=generator) * 255
    torch.manual_seed(seed)
    with EventStorage():
        losses = model({"images": images, "targets": torch.arange(8) % 4})
    optimizer.zero_grad()
    sum(losses.values()).backward()
    optimizer.step()


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_steps_are_those_of_the_same_optimizer_on_separate_parameters(tmp_path, name):
    model, cfg = model_and_config(tmp_path, "SOLVER.OPT", name)
    plain_model = copy.deepcopy(model)
    options = {"momentum": cfg.SOLVER.MOMENTUM} if name == "SGD" else {}
    groups = [{"params": [p]} for p in plain_model.parameters() if p.requires_grad]
    plain = getattr(torch.optim, name)(groups, lr=0.01, weight_decay=cfg.SOLVER.WEIGHT_DECAY, **options)
    optimizer, _ = build_optimizer(cfg, model)
    for seed in range(3):
        step(model, optimizer, seed)
        step(plain_model, plain, seed)
    for ours, theirs in zip(model.parameters(), plain_model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", ["Lamb", "RAdam", "AdamW"])
@pytest.mark.filterwarnings("ignore:This overload of add_")
def test_optimizers_of_torch_and_of_fastreid_are_found_and_change_every_weight(tmp_path, name):
    model, cfg = model_and_config(tmp_path, "SOLVER.OPT", name)
    optimizer, _ = build_optimizer(cfg, model)
    assert type(optimizer).__name__ == name
    before = [p.detach().clone() for p in model.parameters() if p.requires_grad]
    for seed in range(2):
        step(model, optimizer, seed)
    after = [p for p in model.parameters() if p.requires_grad]
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_an_unknown_optimizer_is_an_error_that_names_the_key(tmp_path):
    model, cfg = model_and_config(tmp_path, "SOLVER.OPT", "Addam")
    with pytest.raises(UsageError, match=r"SOLVER\.OPT 'Addam'"):
        build_optimizer(cfg, model)


def test_the_count_of_frozen_steps_is_saved_with_the_optimizer(tmp_path):
    options = ["MODEL.FREEZE_LAYERS", ["backbone"], "SOLVER.FREEZE_ITERS", 3, "SOLVER.OPT", "SGD"]
    model, cfg = model_and_config(tmp_path, *options)
    optimizer, _ = build_optimizer(cfg, model)
    frozen = model.backbone[0].weight.detach().clone()
    head = model.heads.weight.detach().clone()
    for seed in range(2):
        step(model, optimizer, seed)
    assert torch.equal(model.backbone[0].weight, frozen)
    assert not torch.equal(model.heads.weight, head)

    resumed, _ = build_optimizer(cfg, model)
    resumed.load_state_dict(optimizer.state_dict())
    step(model, resumed)
    assert torch.equal(model.backbone[0].weight, frozen)
    step(model, resumed)
    assert not torch.equal(model.backbone[0].weight, frozen)


def test_a_pattern_that_freezes_nothing_is_an_error_where_layers_are_frozen(tmp_path):
    options = ["MODEL.FREEZE_LAYERS", ["backbone", "bakbone"], "SOLVER.FREEZE_ITERS"]
    model, cfg = model_and_config(tmp_path, *options, 3)
    message = (
        "MODEL.FREEZE_LAYERS 'bakbone': no parameter of Baseline has a name that begins so; did you mean backbone?"
    )
    with pytest.raises(SettingsError, match=re.escape(message)):
        build_optimizer(cfg, model)
    build_optimizer(model_and_config(tmp_path, *options, 0)[1], model)


def test_gradient_clipping_bounds_the_step(tmp_path):
    options = ["SOLVER.CLIP_GRADIENTS.ENABLED", True, "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "value"]
    options += ["SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 1e-6, "SOLVER.OPT", "SGD", "SOLVER.WEIGHT_DECAY", 0.0]
    options += ["SOLVER.WEIGHT_DECAY_NORM", 0.0, "SOLVER.WEIGHT_DECAY_BIAS", 0.0]
    model, cfg = model_and_config(tmp_path, *options)
    optimizer, _ = build_optimizer(cfg, model)
    before = model.heads.weight.detach().clone()
    step(model, optimizer)
    assert 0 < (model.heads.weight - before).abs().max() < 2e-8


def test_a_models_factors_scale_learning_rates_on_top_of_the_keys(tmp_path):
    model, cfg = model_and_config(tmp_path, "SOLVER.HEADS_LR_FACTOR", 2.0, "SOLVER.BIAS_LR_FACTOR", 1.0)
    model.lr_factors = {"backbone.": 0.5, "backbone.4.": 0.1, "heads.weight": 3.0}
    _, groups = build_optimizer(cfg, model, contiguous=False)
    names = {parameter: name for name, parameter in model.named_parameters()}
    rates = {names[group["params"][0]]: group["lr"] / 0.01 for group in groups}
    assert rates["backbone.0.weight"] == pytest.approx(0.5)
    assert rates["backbone.4.weight"] == pytest.approx(0.05)
    assert rates["heads.weight"] == pytest.approx(6.0)
    assert rates["heads.bottleneck.0.weight"] == pytest.approx(2.0)


def test_a_factor_of_nothing_that_is_trained_is_an_error(tmp_path):
    model, cfg = model_and_config(tmp_path)
    model.lr_factors = {"trunk.": 0.1}
    with pytest.raises(UsageError, match=r"Baseline.lr_factors: no parameter that is trained begins with 'trunk\.'"):
        build_optimizer(cfg, model)
