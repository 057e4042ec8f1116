"""What a file is, is told by its names."""

import pytest
import torch
import torchvision
from fastreid.config import get_cfg
from fastreid.modeling import build_backbone
from support import golden
from support.timm_families import FAMILIES, timm_config
from support.weight_kinds import resnet, under

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.modeling.backbones import BranchedBackbone, build_timm_backbone
from mdpr_fastreid.weights.architectures import architecture_of, blocks_of
from mdpr_fastreid.weights.kinds import recognise, summarised
from mdpr_fastreid.weights.published import from_official

TORCHVISION = {
    "resnet18": "ResNet-18",
    "resnet34": "ResNet-34",
    "resnet50": "ResNet-50",
    "resnet101": "ResNet-101",
    "resnet152": "ResNet-152",
    "vit_b_32": "vision transformer",
    "swin_t": "Swin transformer",
    "mobilenet_v3_small": "MobileNet, EfficientNet or VGG",
}


@pytest.mark.parametrize("name", TORCHVISION)
def test_an_architecture_of_torchvision_is_told(name):
    with torch.device("meta"):
        names = getattr(torchvision.models, name)().state_dict()
    assert recognise(names).architecture == TORCHVISION[name]


TOOLBOX = {
    ("build_resnet_backbone", "50x", True): "ResNet-50-IBN",
    ("build_resnest_backbone", "50x", False): "ResNeSt or ResNet-D (a stem of three convolutions)",
    ("build_osnet_backbone", "x1_0", False): "OSNet",
    ("build_repvgg_backbone", "A0", False): "RepVGG",
    ("build_regnet_backbone", "400x", False): "RegNet or EfficientNet of pycls",
    ("build_vit_backbone", "small", False): "vision transformer",
}


@pytest.mark.parametrize("builder", TOOLBOX)
def test_an_architecture_of_the_toolbox_is_told(builder):
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.DEPTH, cfg.MODEL.BACKBONE.WITH_IBN = builder
    with torch.random.fork_rng():
        names = build_backbone(cfg).state_dict()
    assert architecture_of(names) == TOOLBOX[builder]


def test_names_lead_to_the_files_own():
    state_dict = under("module.encoder_q.", resnet())
    names = recognise(state_dict).names
    assert names["backbone.layer3.0.conv1.weight"] == "module.encoder_q.layer3.0.conv1.weight"
    assert set(names.values()) == set(state_dict)


@pytest.mark.parametrize(
    "prefix",
    [
        *("module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "_orig_mod.backbone.", "encoder.module."),
        *("module.base.", "model.net.", "resnet.", "visual.", "feature_extractor.", "encoder_q._orig_mod."),
    ],
)
def test_a_backbone_is_found_behind(prefix):
    recognised = recognise(under(prefix, resnet()))
    assert recognised.architecture == "ResNet-18"
    assert recognised.names["backbone.layer4.1.bn2.weight"] == f"{prefix}layer4.1.bn2.weight"


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_a_whole_model_is_found_behind(prefix):
    names = recognise(under(prefix, {**under("backbone.", resnet()), "heads.weight": torch.zeros(1)})).names
    assert names["heads.weight"] == f"{prefix}heads.weight"


def test_the_published_mdpr_is_translated():
    published = golden.load("mdpr_r18_attn3_part3_unguided_plain").state_dict
    recognised = recognise(under("module.", published))
    ours = from_official(published)
    assert recognised.kind == "the published MDPR"
    assert recognised.is_mdpr
    assert recognised.architecture == "ResNet-18"
    assert list(recognised.names) == list(ours)
    assert all(published[name.removeprefix("module.")] is ours[own] for own, name in recognised.names.items())


def test_a_part_of_the_published_mdpr_is_refused():
    published = golden.load("mdpr_r18_attn3_part3_unguided_plain").state_dict
    with pytest.raises(UsageError, match=r"published MDPR, but not a whole one: missing: generate\.attn_bap3\.pool\.p"):
        recognise({name: value for name, value in published.items() if "pool.p" not in name})


def test_names_nobody_knows_are_called_unknown():
    recognised = recognise(under("foo.", resnet()))
    assert (recognised.kind, recognised.architecture) == ("unknown", "")


def test_names_are_summed_up_by_their_first_part():
    names = ["module.fc.weight", "module.fc.bias", "queue"]
    assert summarised(names) == "fc (2), queue (1)"
    assert summarised([f"part{i}.x" for i in range(8)]).endswith("part5 (1) and 2 more parts")


FAMILIES_OF_TIMM = {
    **dict.fromkeys(("resnet",), "ResNeSt or ResNet-D (a stem of three convolutions)"),
    "resnetv2": "ResNet V2",
    "convnext": "ConvNeXt",
    "convnextv2": "ConvNeXt V2",
    "swin": "Swin transformer",
    **dict.fromkeys(("swinv2", "swinv2_cr"), "Swin transformer V2"),
    **dict.fromkeys(("efficientnet", "mobilenetv3", "mobilenetv4"), "MobileNet, EfficientNet or VGG"),
    "regnet": "RegNet or EfficientNet of pycls",
    "repvit": "RepViT",
    "edgenext": "EdgeNeXt",
    "pvt_v2": "PVT V2",
    "fastvit": "FastViT",
    "davit": "DaViT",
    "mambaout": "MambaOut",
    "caformer": "MetaFormer (CAFormer, PoolFormer)",
    "inception_next": "InceptionNeXt",
    "starnet": "StarNet",
    "tiny_vit": "TinyViT",
    "focalnet": "FocalNet",
    "hgnetv2": "HGNet V2",
    "vit": "vision transformer",
    **dict.fromkeys(("deit3", "dinov2", "rope_mixed"), "vision transformer with layer scale (DINOv2, DeiT III)"),
    "clip": "vision transformer of CLIP",
    "eva02": "EVA-02 or BEiT",
    "hiera": "Hiera",
}


@pytest.fixture(scope="module")
def of_timm():
    """Names of weights by family, alone and in MDPR's pieces."""
    names = {}
    with torch.random.fork_rng():
        for family in FAMILIES:
            whole = build_timm_backbone(timm_config(family))
            pieces = BranchedBackbone(whole, ("hard", "soft")).state_dict()
            names[family] = whole.state_dict(), {f"backbone.{name}": value for name, value in pieces.items()}
    return names


@pytest.mark.parametrize("family", FAMILIES)
def test_an_architecture_of_timm_is_told(of_timm, family):
    whole, pieces = of_timm[family]
    assert recognise(under("module.model.", whole)).architecture == FAMILIES_OF_TIMM[family]
    inside_mdpr = recognise({**pieces, "heads.weight": torch.zeros(1)})
    assert (inside_mdpr.kind, inside_mdpr.architecture) == ("MDPR", FAMILIES_OF_TIMM[family])


@pytest.mark.parametrize(
    ("model", "architecture"),
    [
        *(("convnext_tiny", "ConvNeXt"), ("swin_v2_t", "Swin transformer V2"), ("vit_b_16", "vision transformer")),
        *(("efficientnet_b0", "MobileNet, EfficientNet or VGG"), ("maxvit_t", ""), ("densenet121", "")),
        *(("shufflenet_v2_x0_5", ""), ("mnasnet0_5", "")),
    ],
)
def test_nothing_of_torchvision_is_taken_for_what_it_is_not(model, architecture):
    with torch.device("meta"):
        names = getattr(torchvision.models, model)().state_dict()
    assert recognise(names).architecture == architecture


def test_blocks_are_counted_by_list():
    names = [
        "blocks.0.1.conv.weight",
        "blocks.0.0.conv.weight",
        "blocks.3.mlp.0.weight",
        "layer2.4.downsample.0.weight",
        "stages.2.7.f1.conv.weight",
        "stages.3.blocks.5.conv_dw.weight",
        "hard.stage3.stages_2.6.f1.conv.weight",
        "s3.b11.conv1.conv.weight",
        "s.0.weight",
    ]
    assert blocks_of(names) == {
        **{"blocks": {0, 3}, "blocks.0": {0, 1}, "layer2": {4}, "stages.2": {7}, "stages.3.blocks": {5}},
        **{"hard.stage3.stages_2": {6}, "s3": {11}},
    }
