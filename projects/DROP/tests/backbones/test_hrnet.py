"""HRNet-W32: its maps, its size and its names are those of its authors'."""

import pytest
import torch
from drop.backbones import HRNet, build_hrnet_backbone
from fastreid.config import CfgNode
from fastreid.modeling.backbones import BACKBONE_REGISTRY

from mdpr_fastreid.errors import SettingsError, UsageError
from mdpr_fastreid.inference.batch_norm import fold_batch_norms
from mdpr_fastreid.weights import load_backbone

CHANNELS = (128, 256, 512, 1024)
# What the authors' network has behind the maps, for classification
LEFT_OUT = torch.nn.ModuleDict(
    {
        "downsamp_modules": torch.nn.ModuleList(
            torch.nn.Sequential(torch.nn.Conv2d(c, 2 * c, 3), torch.nn.BatchNorm2d(2 * c)) for c in CHANNELS[:3]
        ),
        "final_layer": torch.nn.Sequential(torch.nn.Conv2d(1024, 2048, 1), torch.nn.BatchNorm2d(2048)),
        "classifier": torch.nn.Linear(2048, 1000),
    }
)


def on_meta(reid_map="all"):
    with torch.device("meta"):
        return HRNet(reid_map)


@pytest.mark.parametrize(("height", "rows"), [(256, (64, 32, 16, 8)), (384, (96, 48, 24, 12))])
def test_its_maps_have_the_sizes_of_the_specification(height, rows):
    maps = on_meta().stage_outputs()(torch.empty(2, 3, height, 128, device="meta"))
    assert [tuple(m.shape) for m in maps] == [
        (2, c, h, w) for c, h, w in zip(CHANNELS, rows, (32, 16, 8, 4), strict=True)
    ]


@pytest.mark.parametrize(
    ("reid_map", "shape"), [("all", (1920, 16, 8)), ("last", (1024, 8, 4)), ("full", (1920, 64, 32))]
)
def test_it_gives_one_map(reid_map, shape):
    assert on_meta(reid_map)(torch.empty(2, 3, 256, 128, device="meta")).shape == (2, *shape)


def test_with_the_classifier_it_has_as_many_parameters_as_published():
    parameters = sum(p.numel() for module in (on_meta(), LEFT_OUT) for p in module.parameters())
    assert parameters == 41_232_680


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("conv1.weight", (64, 3, 3, 3)),
        ("bn2.running_mean", (64,)),
        ("layer1.0.downsample.0.weight", (256, 64, 1, 1)),
        ("layer1.3.conv3.weight", (256, 64, 1, 1)),
        ("transition1.0.0.weight", (32, 256, 3, 3)),
        ("transition1.1.0.0.weight", (64, 256, 3, 3)),
        ("transition2.2.0.0.weight", (128, 64, 3, 3)),
        ("transition3.3.0.1.bias", (256,)),
        ("stage2.0.branches.1.3.bn2.weight", (64,)),
        ("stage2.0.fuse_layers.0.1.0.weight", (32, 64, 1, 1)),
        ("stage3.3.fuse_layers.2.0.0.0.weight", (32, 32, 3, 3)),
        ("stage3.3.fuse_layers.2.0.1.1.weight", (128,)),
        ("stage4.2.fuse_layers.3.0.2.0.weight", (256, 32, 3, 3)),
        ("stage4.2.branches.3.0.conv1.weight", (256, 256, 3, 3)),
        ("incre_modules.3.0.downsample.1.weight", (1024,)),
        ("incre_modules.0.0.conv1.weight", (32, 32, 1, 1)),
    ],
)
def test_its_names_are_the_authors(name, shape):
    assert on_meta().state_dict()[name].shape == shape


def test_nothing_else_has_weights():
    entries = on_meta().state_dict()
    layers = {name.partition(".")[0] for name in entries}
    stem = {"conv1", "bn1", "conv2", "bn2", "layer1"}
    assert layers == stem | {f"stage{i}" for i in (2, 3, 4)} | {f"transition{i}" for i in (1, 2, 3)} | {"incre_modules"}
    assert on_meta().stage_outputs().state_dict().keys() == entries.keys()


def test_the_authors_file_loads_whole(tmp_path):
    model = HRNet("last")
    weights = {name: torch.full_like(value, 2) for name, value in model.state_dict().items()}
    classifier = {
        name: value for name, value in LEFT_OUT.state_dict().items() if not name.endswith("num_batches_tracked")
    }
    torch.save(weights | classifier, tmp_path / "hrnetv2_w32_imagenet_pretrained.pth")
    fit = load_backbone(model, tmp_path / "hrnetv2_w32_imagenet_pretrained.pth")
    assert not fit.missing and not fit.other_shapes
    assert set(fit.left) == set(classifier)
    assert all((value == 2).all() for value in model.state_dict().values())


def test_odd_sizes_and_training():
    model = HRNet(width=8)
    maps = model.stage_outputs()(torch.rand(2, 3, 70, 50))
    assert [tuple(m.shape[2:]) for m in maps] == [(18, 13), (9, 7), (5, 4), (3, 2)]
    model(torch.rand(2, 3, 70, 50)).mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_the_stages_are_the_backbones_own_layers():
    model = HRNet(width=8)
    assert model.stage_outputs().conv1 is model.conv1


def test_its_batch_norms_fold():
    torch.manual_seed(0)
    model = HRNet(width=8)
    images = torch.rand(2, 3, 64, 32)
    for _ in range(2):
        model(images)
    with torch.no_grad():
        expected = model.eval()(images)
        folded = fold_batch_norms(model)
        torch.testing.assert_close(folded(images), expected, atol=1e-4, rtol=1e-4)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())


def config(architecture="DROP", reid_map="full", upsampled=True, **options):
    backbone = {"NAME": "build_hrnet_backbone", "PRETRAIN": False, "PRETRAIN_PATH": "", "NORM": "BN", **options}
    drop = {"REID_MAP": reid_map, "DPU": {"ENABLED": upsampled}}
    return CfgNode({"MODEL": {"META_ARCHITECTURE": architecture, "BACKBONE": backbone, "DROP": drop}})


def test_it_is_built_by_name():
    with torch.device("meta"):
        model = BACKBONE_REGISTRY.get("build_hrnet_backbone")(config())
    assert model.reid_map.mode == "full"


@pytest.mark.parametrize(("architecture", "upsampled"), [("DROP", False), ("Baseline", False), ("Baseline", True)])
def test_maps_that_nothing_would_train_are_an_error(architecture, upsampled):
    with pytest.raises(SettingsError, match="set MODEL.DROP.REID_MAP all"):
        build_hrnet_backbone(config(architecture, "last", upsampled))
    with torch.device("meta"):
        assert build_hrnet_backbone(config("DROP", "last", True)).reid_map.mode == "last"
        assert build_hrnet_backbone(config(architecture, "all", upsampled)).reid_map.mode == "all"


def test_weights_without_a_path_are_an_error():
    with pytest.raises(UsageError, match=r"hrnetv2_w32_imagenet_pretrained.pth in MODEL.BACKBONE.PRETRAIN_PATH"):
        build_hrnet_backbone(config(PRETRAIN=True))
