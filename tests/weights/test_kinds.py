"""What a file is, is told by its names."""

import pytest
import torch
import torchvision
from fastreid.config import get_cfg
from fastreid.modeling import build_backbone
from support import golden
from support.weight_kinds import resnet, under

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.weights.kinds import architecture_of, recognise, summarised
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
