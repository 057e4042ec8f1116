"""Learning rates by depth and of the backbone, and what weight decay leaves out, parameter by parameter."""

import re

import pytest
from fastreid.modeling import build_model
from small_runs import small_config as small_run
from support.settings import small_config
from support.timm_families import timm_baseline_config, timm_config

from mdpr_fastreid.engine.optimizers import build_optimizer
from mdpr_fastreid.engine.schedules import build_schedules
from mdpr_fastreid.errors import SettingsError

LR, DECAY = 0.01, 0.5


def groups_of(cfg, *overrides):
    """What each parameter that is trained is trained with, by name."""
    cfg.merge_from_list(["SOLVER.BASE_LR", LR, "SOLVER.BIAS_LR_FACTOR", 1.0, *overrides])
    model = build_model(cfg)
    _, groups = build_optimizer(cfg, model, contiguous=False)
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[group["params"][0]]: group for group in groups}


def rates_of(cfg, *overrides):
    return {name: group["lr"] / LR for name, group in groups_of(cfg, *overrides).items()}


def depth_of(rate):
    """How many layers are above one of that rate."""
    above = 0
    while rate < 0.75:
        rate, above = rate / DECAY, above + 1
    assert rate == pytest.approx(1)
    return above


def vit_depth(name):
    """By the names alone: the stem, the blocks, and the norm with the last block; of a model of 4 blocks."""
    found = re.match(r"blocks\.(\d+)\.", name)
    return int(found[1]) + 1 if found else 4 if name.startswith("norm") else 0


def test_a_vision_transformer_learns_slower_block_by_block_towards_its_stem():
    rates = rates_of(timm_baseline_config("vit"), "SOLVER.LAYER_DECAY", DECAY)
    own = {name.removeprefix("backbone."): rate for name, rate in rates.items() if name.startswith("backbone.")}
    assert {"cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "norm.weight"} <= set(own)
    for name, rate in own.items():
        assert rate == pytest.approx(DECAY ** (4 - vit_depth(name))), name
    assert {rate for name, rate in rates.items() if name.startswith("heads.")} == {1.0}


def swin_depth(name):
    """Of stages of two blocks each: the stem, the eight blocks; a downsampling is with the block behind it."""
    found = re.match(r"layers\.(\d)\.(?:blocks\.(\d)|downsample)", name)
    if not found:
        return 8 if name.startswith("norm") else 0
    return 2 * int(found[1]) + int(found[2] or 0) + 1


def test_swin_learns_slower_block_by_block_and_a_downsampling_as_the_block_behind_it():
    rates = rates_of(timm_baseline_config("swin"), "SOLVER.LAYER_DECAY", DECAY)
    for name, rate in rates.items():
        if name.startswith("backbone."):
            assert rate == pytest.approx(DECAY ** (8 - swin_depth(name.removeprefix("backbone.")))), name


@pytest.mark.parametrize(
    ("family", "norm", "block"),
    [
        ("convnext", "head.norm", "stages.3.blocks.0"),
        ("eva02", "fc_norm", "blocks.3"),
        ("hiera", "head.norm", "blocks.4"),
        ("tiny_vit", "head.norm", "stages.3.blocks.1"),
        ("vit", "norm", "blocks.3"),
    ],
)
def test_the_norm_behind_the_last_block_is_no_layer_of_its_own(family, norm, block):
    rates = rates_of(timm_baseline_config(family), "SOLVER.LAYER_DECAY", DECAY)
    of_block = {rate for name, rate in rates.items() if name.startswith(f"backbone.{block}.")}
    assert rates[f"backbone.{norm}.weight"] == 1.0 in of_block
    assert len(of_block) == 1


@pytest.mark.parametrize("family", ["vit", "swin", "convnext", "resnet", "hiera"])
def test_mdprs_copies_of_a_stage_learn_as_the_stage_does_in_the_whole(family):
    whole = rates_of(timm_baseline_config(family), "SOLVER.LAYER_DECAY", DECAY)
    cfg = timm_config(family)
    branched = rates_of(cfg, "SOLVER.LAYER_DECAY", DECAY)
    names = build_model(cfg).backbone.names_in_whole
    compared = 0
    for name, rate in branched.items():
        own = names.get(name.removeprefix("backbone."))
        if name.startswith("backbone.") and own is not None:
            assert rate == whole[f"backbone.{own}"], name
            compared += 1
        else:
            assert rate == 1, name
    assert compared > len(whole) / 2


@pytest.mark.parametrize(
    ("overrides", "blocks"),
    [
        (["MODEL.BACKBONE.DEPTH", "18x"], 8),
        (["MODEL.BACKBONE.DEPTH", "50x"], 16),
        (["MODEL.BACKBONE.DEPTH", "50x", "MODEL.BACKBONE.WITH_NL", True], 21),
        (["MODEL.BACKBONE.NAME", "build_osnet_backbone", "MODEL.BACKBONE.DEPTH", "x0_25"], 9),
        (["MODEL.BACKBONE.NAME", "build_regnet_backbone", "MODEL.BACKBONE.DEPTH", "800y"], 14),
        (["MODEL.BACKBONE.NAME", "build_repvgg_backbone", "MODEL.BACKBONE.DEPTH", "A0"], 21),
    ],
    ids=["ResNet-18", "ResNet-50", "non-local", "OSNet", "RegNet", "RepVGG"],
)
def test_fastreids_own_backbones_have_a_depth_block_by_block(overrides, blocks):
    rates = rates_of(small_config(*overrides), "SOLVER.LAYER_DECAY", DECAY)
    trunk = {name: depth_of(rate) for name, rate in rates.items() if name.startswith("backbone.trunk.")}
    first = next(iter(trunk.values()))
    assert first == blocks == max(trunk.values())
    stage4 = [depth_of(rate) for name, rate in rates.items() if name.startswith("backbone.soft.stage4.")]
    assert stage4[-1] == 0 and stage4 == sorted(stage4, reverse=True)
    assert stage4 == [depth_of(rate) for name, rate in rates.items() if name.startswith("backbone.hard.stage4.")]
    assert {rate for name, rate in rates.items() if not name.startswith("backbone.")} == {1.0}


def test_resnets_depths_are_those_that_timm_says_of_its_own():
    overrides = ["SOLVER.LAYER_DECAY", DECAY, "MODEL.BACKBONE.DEPTH", "18x"]
    ours = rates_of(small_config(*overrides))
    timms = rates_of(timm_config("resnet", "MODEL.BACKBONE.TIMM.MODEL", "resnet18"), *overrides[:2])
    shared = {name for name in ours if name.startswith("backbone.")} & set(timms)
    assert len(shared) == 30  # of the trunk; names in stages 3 and 4 differ by how stage 4 is enlarged
    assert {name: ours[name] for name in shared} == pytest.approx({name: timms[name] for name in shared})


def test_fastreids_vision_transformer_has_a_depth():
    cfg = small_config()
    cfg.merge_from_file("configs/Baselines/Base-BoT.yml")
    overrides = [
        "MODEL.BACKBONE.NAME",
        "build_vit_backbone",
        "MODEL.BACKBONE.DEPTH",
        "small",
        "MODEL.BACKBONE.FEAT_DIM",
    ]
    size = ["INPUT.SIZE_TRAIN", [64, 32], "INPUT.SIZE_TEST", [64, 32], "MODEL.BACKBONE.PRETRAIN", False]
    overrides += [768, "MODEL.HEADS.POOL_LAYER", "Identity", *size]
    rates = rates_of(cfg, *overrides, "SOLVER.LAYER_DECAY", DECAY)
    assert depth_of(rates["backbone.cls_token"]) == depth_of(rates["backbone.patch_embed.proj.weight"]) == 8
    assert depth_of(rates["backbone.blocks.0.attn.qkv.weight"]) == 7
    assert depth_of(rates["backbone.blocks.7.attn.qkv.weight"]) == depth_of(rates["backbone.norm.weight"]) == 0


def test_a_backbone_whose_order_is_not_known_is_named(tmp_path):
    cfg = small_run(tmp_path, "MODEL.HEADS.NUM_CLASSES", 4, "SOLVER.LAYER_DECAY", 0.8)
    with pytest.raises(SettingsError, match=r"SOLVER\.LAYER_DECAY 0\.8: the order of the layers of SmallBackbone"):
        build_optimizer(cfg, build_model(cfg))


def test_mdpr_names_the_backbone_whose_order_is_not_known():
    cfg = timm_config("caformer", "SOLVER.LAYER_DECAY", 0.8)
    with pytest.raises(SettingsError, match=r"SOLVER\.LAYER_DECAY 0\.8: the order of the layers of MetaFormer is not"):
        build_optimizer(cfg, build_model(cfg))


def test_a_version_of_timm_without_its_private_module_says_so(monkeypatch):
    import timm.models._manipulate as private

    monkeypatch.delattr(private, "group_with_matcher")
    with pytest.raises(SettingsError, match="the order of the layers of ConvNeXt is not known"):
        rates_of(timm_baseline_config("convnext"), "SOLVER.LAYER_DECAY", 0.8)


def test_the_backbones_factor_is_on_top_of_all_others():
    cfg = timm_config("vit")
    overrides = ["SOLVER.BACKBONE_LR_FACTOR", 0.1, "SOLVER.LAYER_DECAY", DECAY, "SOLVER.HEADS_LR_FACTOR", 3.0]
    rates = rates_of(cfg, *overrides, "SOLVER.BIAS_LR_FACTOR", 2.0)
    assert rates["backbone.soft.stage4.0.mlp.fc1.weight"] == pytest.approx(0.1)
    assert rates["backbone.soft.stage4.0.mlp.fc1.bias"] == pytest.approx(0.2)
    assert rates["backbone.trunk.start.cls_token"] == pytest.approx(0.1 * DECAY**4)
    assert rates["soft.embedding4.conv.weight"] == pytest.approx(1)
    assert {rate for name, rate in rates.items() if name.startswith("heads.") and name.endswith("weight")} == {3.0}


def test_weight_decay_leaves_out_vectors_tokens_positions_and_tables():
    for family, left_out, kept in [
        (
            "vit",
            ["cls_token", "pos_embed", "blocks.0.norm1.weight", "blocks.0.attn.qkv.bias"],
            "blocks.0.mlp.fc1.weight",
        ),
        ("swin", ["layers.0.blocks.0.attn.relative_position_bias_table", "norm.bias"], "patch_embed.proj.weight"),
        (
            "swinv2",
            ["layers.0.blocks.0.attn.logit_scale", "layers.0.blocks.0.attn.cpb_mlp.0.weight"],
            "layers.0.blocks.0.attn.qkv.weight",
        ),
        ("tiny_vit", ["stages.1.blocks.0.attn.attention_biases"], "stages.1.blocks.0.attn.qkv.weight"),
        ("edgenext", ["stages.1.blocks.1.xca.temperature"], "stages.1.blocks.1.xca.qkv.weight"),
        ("fastvit", ["stages.0.blocks.0.layer_scale.gamma"], "stages.0.blocks.0.mlp.fc1.weight"),
        ("convnext", ["stages.0.blocks.0.gamma"], "stages.0.blocks.0.conv_dw.weight"),
        ("dinov2", ["reg_token", "blocks.0.ls1.gamma"], "blocks.0.attn.proj.weight"),
    ]:
        cfg = timm_baseline_config(family)
        weights = ["SOLVER.WEIGHT_DECAY", 0.1, "SOLVER.WEIGHT_DECAY_NORM", 0.2, "SOLVER.WEIGHT_DECAY_BIAS", 0.3]
        plain, groups = groups_of(cfg.clone(), *weights), groups_of(cfg, *weights, "SOLVER.DECAY_MATRICES_ONLY", True)
        for name in left_out:
            assert groups[f"backbone.{name}"]["weight_decay"] == 0 < plain[f"backbone.{name}"]["weight_decay"], name
        assert groups[f"backbone.{kept}"]["weight_decay"] == groups["heads.weight"]["weight_decay"] == 0.1
        assert groups["heads.bottleneck.0.weight"]["weight_decay"] == 0


def test_a_floor_above_the_slowest_layers_rate_is_refused_with_the_rate():
    cfg = timm_baseline_config("vit")
    cfg.merge_from_list(["SOLVER.BASE_LR", LR, "SOLVER.LAYER_DECAY", DECAY, "SOLVER.SCHED", "CosineAnnealingLR"])
    cfg.merge_from_list(["SOLVER.ETA_MIN_LR", 1e-3, "SOLVER.MAX_EPOCH", 10, "SOLVER.WARMUP_ITERS", 0])
    optimizer, _ = build_optimizer(cfg, build_model(cfg))
    with pytest.raises(SettingsError, match=r"ETA_MIN_LR 0\.001 is above the smallest learning rate, 0\.000625 "):
        build_schedules(cfg, optimizer, 10)
    cfg.SOLVER.ETA_MIN_LR = 1e-4
    schedule = build_schedules(cfg, optimizer, 10)["lr_sched"]
    start = [group["lr"] for group in optimizer.param_groups]
    for _ in range(10):
        optimizer.step()
        schedule.step()
    assert all(group["lr"] <= before for group, before in zip(optimizer.param_groups, start, strict=True))
    assert {round(group["lr"], 9) for group in optimizer.param_groups} == {1e-4}
