"""Files of published transformers fill timm's models and ours: alone, in a Baseline and in MDPR."""

import pytest
import torch
import torchvision
from small_runs import logged_by_fastreid
from support.golden_transformers import SOLIDER, backbone
from support.settings import small_config
from support.transformer_files import CLIP, CLIPS, FILES, SIZE, SOLIDERS, SWIN, TRANSREID
from support.weight_kinds import numbered, under

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.modeling import build_model
from mdpr_fastreid.weights import load_backbone, load_for_evaluation, start_from


def settings(model, arguments, *overrides):
    pairs = tuple(part for pair in arguments.items() for part in pair)
    size = ("INPUT.SIZE_TRAIN", list(SIZE), "INPUT.SIZE_TEST", list(SIZE))
    names = ("MODEL.BACKBONE.NAME", "build_timm_backbone", "MODEL.BACKBONE.TIMM.MODEL", model)
    return [*names, "MODEL.BACKBONE.TIMM.ARGS", pairs, *size, *overrides]


def mdpr(model, arguments, *overrides):
    return build_model(small_config(*settings(model, arguments, "MODEL.MDPR.PARTS", 2, *overrides)))


def baseline(model, arguments, channels, *overrides):
    method = [
        "MODEL.META_ARCHITECTURE",
        "Baseline",
        "MODEL.HEADS.NAME",
        "EmbeddingHead",
        "MODEL.HEADS.WITH_BNNECK",
        True,
    ]
    method += ["MODEL.HEADS.POOL_LAYER", "GlobalAvgPool", "MODEL.BACKBONE.FEAT_DIM", channels]
    return build_model(small_config(*settings(model, arguments, *method, *overrides)))


def saved(path, content):
    torch.save(content, path)
    return path


@pytest.mark.parametrize("kind", FILES)
def test_every_weight_of_the_backbone_is_in(tmp_path, kind):
    model, content, called = FILES[kind]
    built = backbone(*model, SIZE)
    with logged_by_fastreid() as messages:
        fit = load_backbone(built, saved(tmp_path / "weights.pth", content), resized=built.resized_weight)
    assert fit.missing == []
    assert not fit.other_shapes
    (table,) = messages  # a warning of what is missing would be another
    assert f"kind: {called}" in table


def test_solider_leaves_what_reaches_no_feature(tmp_path):
    fit = load_backbone(backbone("solider_swin_tiny", SWIN, SIZE), saved(tmp_path / "weights.pth", SOLIDERS))
    left = {name for name in fit.left if "relative_position_index" not in name}
    assert left == {
        *(f"norm{number}.{entry}" for number in (0, 1) for entry in ("weight", "bias")),
        *(f"semantic_embed_{which}.3.{entry}" for which in "wb" for entry in ("weight", "bias")),
    }


def test_the_block_that_transreid_trained_is_taken_not_the_one_beside_it(tmp_path):
    model, content, _ = FILES["TransReID"]
    built = backbone(*model, SIZE)
    load_backbone(built, saved(tmp_path / "weights.pth", content))
    assert (built.blocks[3].mlp.fc1.weight == -3).all()
    assert (built.norm.weight == -4).all()
    assert (built.blocks[2].mlp.fc1.weight == TRANSREID["blocks.2.mlp.fc1.weight"]).all()


@pytest.mark.parametrize("kind", ["SOLIDER, converted", "TransReID-SSL", "CLIP", "TransReID-SSL, stem"])
def test_both_branches_of_mdpr_start_from_the_file(tmp_path, kind):
    model, content, _ = FILES[kind]
    whole = backbone(*model, SIZE)
    path = saved(tmp_path / "weights.pth", content)
    load_backbone(whole, path, resized=whole.resized_weight)
    built = mdpr(*model, "MODEL.BACKBONE.PRETRAIN", True, "MODEL.BACKBONE.PRETRAIN_PATH", str(path)).backbone
    own, expected = built.state_dict(), whole.state_dict()
    assert {name for name in own if name not in built.names_in_whole} <= {
        "soft.view3.norm.weight",
        "soft.view3.norm.bias",
    }
    for name, in_whole in built.names_in_whole.items():
        assert torch.equal(own[name], expected[in_whole].to(own[name].dtype)), name


@pytest.mark.parametrize("kind", ["SOLIDER, converted", "TransReID-SSL"])
def test_a_trained_baseline_starts_mdpr_and_the_other_way_round(tmp_path, kind):
    model, *_ = FILES[kind]
    channels = 192 if "SOLIDER" in kind else 48
    pair = {"baseline": baseline(*model, channels), "mdpr": mdpr(*model)}
    for name, built in pair.items():
        torch.save({"model": numbered(built.state_dict())}, tmp_path / f"{name}.pth")
    with logged_by_fastreid() as messages:
        start_from(pair["mdpr"], tmp_path / "baseline.pth")
    assert "kind: FastReID model; " in messages[0]
    whole = torch.load(tmp_path / "baseline.pth")["model"]
    own = pair["mdpr"].backbone.state_dict()
    for name, in_whole in pair["mdpr"].backbone.names_in_whole.items():
        assert torch.equal(own[name], whole[f"backbone.{in_whole}"].expand_as(own[name])), name
    with logged_by_fastreid() as messages:
        start_from(pair["baseline"], tmp_path / "mdpr.pth")
    assert "kind: MDPR; " in messages[0]
    assert not [message for message in messages[1:] if "lacks" in message]
    theirs = torch.load(tmp_path / "mdpr.pth")["model"]
    own = pair["baseline"].backbone.state_dict()
    names = {
        whole: piece for piece, whole in pair["mdpr"].backbone.names_in_whole.items() if not piece.startswith("soft")
    }
    assert names
    for whole, piece in names.items():
        assert torch.equal(own[whole], theirs[f"backbone.{piece}"].expand_as(own[whole])), whole


def test_a_published_fine_tuned_file_is_evaluated_with_its_neck(tmp_path):
    content = {**FILES["SOLIDER-REID"][1], "bottleneck.running_mean": torch.full((192,), 7.0)}
    model = baseline("solider_swin_tiny", SWIN, 192)
    load_for_evaluation(model, str(saved(tmp_path / "weights.pth", content)))
    assert (model.heads.bottleneck[0].running_mean == 7).all()
    assert (model.backbone.norm_stage3.weight == SOLIDERS["norm2.weight"]).all()


def of_size(depth, width):
    """A SOLIDER file of another size."""
    shapes = {}
    for name, shape in SOLIDER["tiny"]["state_dict"].items():
        wider = [size * width // 96 if size % 3 == 0 and size != 3 else size for size in shape]
        shapes[name] = wider
        if name.startswith("stages.2.blocks.0."):
            shapes |= {name.replace("blocks.0.", f"blocks.{block}.", 1): wider for block in range(6, depth)}
    return numbered({name: torch.empty(shape, device="meta") for name, shape in shapes.items()})


REFUSED = {
    "small in tiny": (
        *("solider_swin_tiny", {}, of_size(18, 96)),
        r"has 18 blocks in layers\.2\.blocks, the model's backbone 6; set .*solider_swin_small",
    ),
    "tiny in small": (
        *("solider_swin_small", {}, of_size(6, 96)),
        r"has 6 blocks in layers\.2\.blocks, the model's backbone 18; set .* to solider_swin_tiny",
    ),
    "base in small": (
        *("solider_swin_small", {}, of_size(18, 128)),
        r"patch_embed\.proj\.weight is \[128, 3, 4, 4\] in the file and \[96, 3, 4, 4\] .* to solider_swin_base",
    ),
    "SOLIDER in timm's Swin": (
        *("swin_tiny_patch4_window7_224", SWIN, SOLIDERS),
        r"SOLIDER's Swin transformer is not what the model's backbone is \(Swin transformer\)",
    ),
    "CLIP in a plain ViT": (
        *("vit_base_patch16_224", {**FILES["CLIP"][0][1]}, CLIPS),
        r"vision transformer of CLIP is not what the model's backbone is \(vision transformer\)",
    ),
    "CLIP-ReID in a CLIP with GELU": (
        *("vit_base_patch16_clip_224", CLIP[1], FILES["CLIP-ReID"][1]),
        r"was trained with QuickGELU, and the model has GELU: set .* to a model with quickgelu in its name",
    ),
    "a ViT in a Swin": (
        *("solider_swin_tiny", SWIN, TRANSREID),
        r"vision transformer fits 0 of the \d+ weights of the model's backbone \(SOLIDER's Swin transformer\)",
    ),
    "a longer ViT": (
        *("vit_base_patch16_224", {**FILES["TransReID"][0][1], "depth": 3}, TRANSREID),
        r"vision transformer has 4 blocks in blocks, the model's backbone 3; set MODEL\.BACKBONE as the file is",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_another_size_or_family_is_one_line(tmp_path, case):
    model, arguments, content, message = REFUSED[case]
    built = backbone(model, arguments, SIZE)
    before = {name: value.clone() for name, value in built.state_dict().items()}
    with pytest.raises(UsageError, match=message) as caught:
        load_backbone(built, saved(tmp_path / "weights.pth", content), resized=built.resized_weight)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in built.state_dict().items())


def test_a_file_trained_with_quickgelu_is_not_evaluated_with_gelu(tmp_path):
    neck = {f"bottleneck.{entry}": torch.ones(48) for entry in ("weight", "bias", "running_mean", "running_var")}
    path = saved(
        tmp_path / "weights.pth", {**under("image_encoder.", CLIPS), **neck, "classifier.weight": torch.ones(4, 48)}
    )
    with pytest.raises(UsageError, match=r"was trained with QuickGELU, and the model has GELU"):
        load_for_evaluation(baseline("vit_base_patch16_clip_224", CLIP[1], 48), str(path))
    load_for_evaluation(baseline(*CLIP, 48), str(path))


def test_a_clip_that_may_be_openclips_is_taken_with_gelu(tmp_path):
    built = backbone("vit_base_patch16_clip_224", CLIP[1], SIZE)
    load_backbone(built, saved(tmp_path / "weights.pth", FILES["CLIP"][1]), resized=built.resized_weight)
    assert torch.equal(built.norm_pre.weight, CLIPS["ln_pre.weight"])


def test_a_file_of_another_depth_is_not_evaluated(tmp_path):
    whole = baseline("vit_base_patch16_224", {**FILES["TransReID"][0][1], "depth": 5}, 48)
    path = saved(tmp_path / "weights.pth", {"model": numbered(whole.state_dict())})
    with pytest.raises(UsageError, match=r"has 5 blocks in blocks, the model's backbone 4"):
        load_for_evaluation(baseline("vit_base_patch16_224", FILES["TransReID"][0][1], 48), str(path))


def test_a_deeper_resnet_is_not_taken_for_a_shallower_one(tmp_path):
    with torch.device("meta"):
        shapes = torchvision.models.resnet101().state_dict()
    options = [
        "MODEL.META_ARCHITECTURE",
        "Baseline",
        "MODEL.HEADS.NAME",
        "EmbeddingHead",
        "MODEL.BACKBONE.DEPTH",
        "50x",
    ]
    model = build_model(small_config(*options, "MODEL.BACKBONE.FEAT_DIM", 2048))
    with pytest.raises(
        UsageError, match=r"ResNet-101 has 23 blocks in layer3, the model's backbone 6; set MODEL\.BACKBONE as"
    ):
        start_from(model, saved(tmp_path / "weights.pth", numbered(shapes)))


@torch.no_grad()
def test_a_swin_of_torchvision_computes_the_same(tmp_path):
    torch.manual_seed(0)
    options = {"patch_size": [4, 4], "embed_dim": 24, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 4, 8]}
    theirs = torchvision.models.SwinTransformer(**options, window_size=[7, 7]).double().eval()
    ours = backbone("swin_tiny_patch4_window7_224", SWIN, (224, 224))
    fit = load_backbone(ours, saved(tmp_path / "weights.pth", theirs.state_dict()))
    assert fit.missing == []
    images = torch.randn(1, 3, 224, 224, dtype=torch.float64)
    torch.testing.assert_close(ours.layers[:3](ours.patch_embed(images)), theirs.features[:6](images))


@torch.no_grad()
def test_a_vit_of_torchvision_computes_the_same(tmp_path):
    torch.manual_seed(0)
    widths = {"hidden_dim": 48, "mlp_dim": 192, "num_layers": 4, "num_heads": 3}
    theirs = torchvision.models.VisionTransformer(image_size=96, patch_size=16, **widths).double().eval()
    theirs.heads = torch.nn.Identity()
    ours = backbone(*FILES["TransReID"][0], (96, 96))
    fit = load_backbone(ours, saved(tmp_path / "weights.pth", theirs.state_dict()))
    assert fit.missing == []
    images = torch.randn(2, 3, 96, 96, dtype=torch.float64)
    torch.testing.assert_close(ours(images)[:, :, 0, 0], theirs(images))


def test_a_swin_of_its_authors_has_its_mergings_a_stage_earlier(tmp_path):
    ours = backbone("swin_tiny_patch4_window7_224", SWIN, (224, 224))
    weights = {name: torch.randn_like(value) for name, value in ours.state_dict().items()}
    theirs = {
        f"layers.{int(name[7]) - 1}{name[8:]}" if ".downsample." in name else name: value
        for name, value in weights.items()
    }
    with logged_by_fastreid() as messages:
        load_backbone(ours, saved(tmp_path / "weights.pth", {"model": theirs}))
    assert "kind: Swin transformer of its authors; Swin transformer" in messages[0]
    assert all(torch.equal(value, weights[name]) for name, value in ours.state_dict().items())


def test_deit_iii_of_its_authors_has_its_layer_scales_taken(tmp_path):
    options = {"depth": 4, "embed_dim": 48, "num_heads": 3}
    ours = backbone("deit3_small_patch16_224", options, (96, 96))
    weights = {name: torch.randn_like(value) for name, value in ours.state_dict().items()}
    theirs = {name.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): v for name, v in weights.items()}
    assert load_backbone(ours, saved(tmp_path / "weights.pth", {"model": theirs})).missing == []
    assert all(torch.equal(value, weights[name]) for name, value in ours.state_dict().items())


def test_dinov2_with_registers_of_its_authors_is_refused_with_the_way_out(tmp_path):
    options = {"depth": 2, "embed_dim": 48, "num_heads": 3}
    for model in ("vit_small_patch14_reg4_dinov2", "vit_small_patch14_dinov2"):
        ours = backbone(model, options, (56, 28))
        theirs = {name: value for name, value in ours.state_dict().items() if name != "reg_token"}
        theirs |= {"register_tokens": torch.zeros(1, 4, 48), "pos_embed": torch.zeros(1, 17, 48)}
        with pytest.raises(UsageError, match="DINOv2 with registers .* take timm's file") as caught:
            load_backbone(ours, saved(tmp_path / "weights.pth", theirs), resized=ours.resized_weight)
        assert "\n" not in str(caught.value)


def test_reading_a_file_of_mdpr_leaves_what_a_baseline_trains_as_it_is(tmp_path):
    torch.save({"model": mdpr("solider_swin_tiny", SWIN).state_dict()}, tmp_path / "mdpr.pth")
    model = baseline("solider_swin_tiny", SWIN, 192)
    trained = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    start_from(model, tmp_path / "mdpr.pth")
    assert trained == {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    assert not trained["backbone.norm_stage3.weight"]


def test_a_model_with_names_of_clips_own_is_not_translated(tmp_path):
    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = torch.nn.Module()
            self.backbone.class_embedding = torch.nn.Parameter(torch.zeros(48))
            self.backbone.transformer = torch.nn.Module()
            self.backbone.transformer.resblocks = torch.nn.ModuleList([torch.nn.Module()])
            self.backbone.transformer.resblocks[0].ln_1 = torch.nn.LayerNorm(48)

    model = Own()
    wanted = {name.removeprefix("backbone."): value for name, value in model.state_dict().items()}
    start_from(model, saved(tmp_path / "weights.pth", under("visual.", numbered(wanted))))
    assert model.backbone.class_embedding.eq(1).all()


@pytest.mark.parametrize("method", ["MDPR", "Baseline"])
def test_a_trained_model_starts_another_of_larger_images_with_its_positions_resized(tmp_path, method):
    model = FILES["TransReID"][0]
    larger = ("INPUT.SIZE_TRAIN", [192, 96], "INPUT.SIZE_TEST", [192, 96])
    trained, other = (mdpr(*model, *size) if method == "MDPR" else baseline(*model, 48, *size) for size in ((), larger))
    (name,) = [name for name in trained.state_dict() if name.endswith("pos_embed")]
    start_from(other, saved(tmp_path / "weights.pth", {"model": trained.state_dict()}))
    found, positions = other.state_dict()[name], trained.state_dict()[name]
    assert torch.equal(found[:, :1], positions[:, :1])
    by_hand = torch.nn.functional.interpolate(
        positions[0, 1:].T.reshape(1, 48, 6, 3), size=(12, 6), mode="bilinear", align_corners=False
    )
    torch.testing.assert_close(found[0, 1:].T.reshape(1, 48, 12, 6), by_hand)


def test_positions_of_a_grid_that_cannot_be_told_are_one_line(tmp_path):
    model = FILES["TransReID"][0]
    size = ("INPUT.SIZE_TRAIN", [80, 48], "INPUT.SIZE_TEST", [80, 48])
    trained = baseline(*model, 48, *size)
    path = saved(tmp_path / "weights.pth", {"model": trained.state_dict()})
    with pytest.raises(UsageError, match=r"is \[1, 16, 48\] .* set INPUT.SIZE_TRAIN and .*STRIDE_SIZE as then"):
        start_from(baseline(*model, 48), path)
