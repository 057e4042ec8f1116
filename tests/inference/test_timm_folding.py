"""Folded networks on timm's backbones compute the model's features, and a fold that is wrong does not."""

import copy

import pytest
import timm
import torch
from support.folding import with_random_batch_norms
from support.timm_families import FAMILIES, KINDS, SIZE, TRANSFORMERS, timm_model
from timm.layers import BatchNormAct2d, Conv2dSame, FrozenBatchNormAct2d, ScaledStdConv2d, StdConv2d
from torch import nn

from mdpr_fastreid.inference import batch_norm, fold, timm_layers
from mdpr_fastreid.inference.batch_norm import fold_batch_norms, is_batch_norm
from mdpr_fastreid.inference.timm_layers import is_norm_with_activation
from mdpr_fastreid.inference.winograd import WinogradConv2d

IMAGES = torch.rand(3, 3, *SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 255
NORMALISED = torch.randn(2, 3, 64, 48, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def difference(found, expected):
    """The largest of a value, relative to the largest value."""
    assert found.shape == expected.shape
    return float((found - expected).detach().abs().max() / expected.detach().abs().max())


def norms_left(module):
    return [name for name, part in module.named_modules() if is_batch_norm(part) or is_norm_with_activation(part)]


@pytest.mark.parametrize(
    ("family", "method"), [*((family, "MDPR") for family in FAMILIES), *((kind, "Baseline") for kind in KINDS)]
)
@torch.no_grad()
def test_folded_features_are_the_models(family, method):
    model = timm_model(method, family).double()
    found = fold(model, torch.float64)(IMAGES)
    assert found.dtype == torch.float64
    assert difference(found, model(IMAGES)) < 1e-9


@pytest.mark.parametrize("family", ["resnet", "efficientnet", "mobilenetv4", "regnet", "repvit", "fastvit", "hgnetv2"])
def test_no_batch_norm_is_left_where_each_has_a_convolution_of_its_own(family):
    model = timm_model("MDPR", family)
    assert norms_left(model.backbone) != []
    assert norms_left(fold(model).network.backbone) == []


@pytest.mark.parametrize("family", ["repvit", "fastvit"])
def test_blocks_of_several_branches_are_one_convolution(family):
    model = timm_model("Baseline", family)
    folded = fold(model, winograd=False)

    def convolutions(module):
        return sum(isinstance(part, nn.Conv2d) for part in module.modules())

    assert convolutions(folded) < convolutions(model)
    kinds = {type(part).__name__ for part in folded.modules()}
    assert kinds.isdisjoint({"RepVggDw"})
    assert all(getattr(part, "reparam_conv", 0) is not None for part in folded.modules())


@pytest.mark.parametrize(
    "name", ["mobileone_s0", "repvgg_a0", "tf_efficientnet_b0", "resnetv2_50x1_bit", "ghostnet_100"]
)
@torch.no_grad()
def test_further_models_of_timms_compute_what_they_did(name):
    torch.manual_seed(0)
    model = with_random_batch_norms(timm.create_model(name, num_classes=0)).double()
    folded = fold_batch_norms(copy.deepcopy(model))
    assert difference(folded.forward_features(NORMALISED), model.forward_features(NORMALISED)) < 1e-9


def test_the_model_stays_as_it_was():
    model = timm_model("Baseline", "fastvit")
    before = copy.deepcopy(model.state_dict())
    fold(model)
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("norm", [BatchNormAct2d, FrozenBatchNormAct2d])
@pytest.mark.parametrize("options", [{}, {"apply_act": False}, {"act_layer": nn.SiLU, "drop_layer": nn.Dropout2d}])
@pytest.mark.parametrize("conv", [nn.Conv2d, Conv2dSame])
def test_a_norm_with_its_activation_folds_into_a_convolution_and_the_activation_stays(norm, options, conv):
    torch.manual_seed(0)
    layers = nn.Sequential(conv(3, 6, 3, stride=2), norm(6, **options), nn.Conv2d(6, 2, 1)).eval()
    module = with_random_batch_norms(layers).double()
    expected = module(NORMALISED)
    folded = fold_batch_norms(copy.deepcopy(module))
    assert norms_left(folded) == []
    assert type(folded[0]) is conv
    assert difference(folded(NORMALISED), expected) < 1e-12


@pytest.mark.parametrize("conv", [StdConv2d, ScaledStdConv2d])
def test_a_standardised_weight_is_left_alone(conv):
    torch.manual_seed(0)
    module = with_random_batch_norms(nn.Sequential(conv(3, 6, 3), BatchNormAct2d(6), nn.Conv2d(6, 2, 1))).double()
    expected = module(NORMALISED)
    folded = fold_batch_norms(copy.deepcopy(module))
    assert norms_left(folded) == ["1"]
    assert torch.equal(folded(NORMALISED), expected)


class _ReadsAWeight(nn.Module):
    """Convolves with a weight of another layer, too."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, features):
        return self.norm(self.conv(features)) + nn.functional.conv2d(features, self.conv.weight)


def test_a_weight_that_others_read_is_left_alone():
    torch.manual_seed(0)
    module = with_random_batch_norms(_ReadsAWeight()).double()
    expected = module(NORMALISED)
    assert torch.equal(fold_batch_norms(module)(NORMALISED), expected)


def test_a_convolution_padded_by_its_input_is_not_computed_by_winograds_algorithm():
    assert WinogradConv2d.takes(nn.Conv2d(128, 128, 3, padding=1))
    assert not WinogradConv2d.takes(Conv2dSame(128, 128, 3))


def without_activation(norm):
    return nn.Identity()


def before_the_activation(norm):
    return nn.Sequential(norm.act, norm.drop, nn.Hardtanh(-1, 1))


def any_subclass(norm):
    return isinstance(norm, nn.BatchNorm2d)


@pytest.mark.parametrize(
    ("wrong", "family"),
    [
        ({"after_norm": without_activation}, "efficientnet"),
        ({"after_norm": without_activation}, "resnetv2"),
        ({"after_norm": before_the_activation}, "mobilenetv4"),
        ({"is_batch_norm": any_subclass, "is_norm_with_activation": lambda norm: False}, "regnet"),
        ({"reparameterized": lambda one: without_branches(one)}, "repvit"),
    ],
    ids=["activation lost", "activation lost, pre-activated", "another activation", "subclass taken", "branches lost"],
)
@torch.no_grad()
def test_a_fold_that_is_wrong_gives_other_features(monkeypatch, wrong, family):
    model = timm_model("MDPR", family).double()
    expected = model(IMAGES)
    for name, function in wrong.items():
        monkeypatch.setattr(batch_norm, name, function)
    assert difference(fold(model, torch.float64)(IMAGES), expected) > 1e-3


def without_branches(module):
    """As if a block of several branches were its largest convolution alone."""
    for name, part in list(module.named_modules()):
        if type(part).__name__ == "RepVggDw":
            module.set_submodule(name, nn.Sequential(part.conv, part.bn))
    return module


def test_without_timm_nothing_is_of_its_layers(monkeypatch):
    monkeypatch.setattr(timm_layers, "_layer", lambda name: None)
    assert not is_norm_with_activation(BatchNormAct2d(3))
    module = with_random_batch_norms(nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6))).double()
    expected = module(NORMALISED)
    folded = fold_batch_norms(module)
    assert isinstance(folded[1], nn.Identity)
    assert difference(folded(NORMALISED), expected) < 1e-12


@pytest.mark.parametrize("family", [*TRANSFORMERS, "swin", "swinv2", "convnext", "hiera", "davit"])
@torch.no_grad()
def test_half_precision_keeps_the_direction_of_the_features(family):
    torch.manual_seed(0)
    model = timm_model("MDPR", family)
    images = IMAGES.float()
    reduced = fold(model, torch.bfloat16)
    assert {p.dtype for p in reduced.network.backbone.parameters()} == {torch.bfloat16}
    features = reduced(images)
    assert features.dtype == torch.float32
    assert torch.cosine_similarity(features, fold(model)(images)).min() > 0.99


@pytest.mark.parametrize("family", ["vit", "swin"])
def test_only_what_reaches_the_features_is_left(family):
    model = timm_model("MDPR", family, "MODEL.MDPR.INFERENCE_FEATURES", ("soft3",))
    folded = fold(model)
    names = {name for name, _ in folded.named_modules()}
    assert not any(".hard" in name or ".soft.stage4" in name for name in names)
    with torch.no_grad():
        assert difference(folded(IMAGES.float()), model(IMAGES.float())) < 1e-4
