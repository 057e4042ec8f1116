"""The folded network computes the model's features, and only what they need."""

import copy

import pytest
import torch
from fastreid.config import get_cfg
from fastreid.modeling import build_model
from support.folding import relative_difference, with_random_batch_norms
from support.settings import SINGLE_BRANCH, small_model
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.inference import fold
from mdpr_fastreid.inference.batch_norm import is_batch_norm
from mdpr_fastreid.inference.winograd import WinogradConv2d
from mdpr_fastreid.modeling.features import INFERENCE_FEATURES
from mdpr_fastreid.modeling.layers import merged_convolution

SETTINGS = {
    "all features": [],
    "each head embeds": ["MODEL.HEADS.EMBEDDING_DIM", 8],
    "three stripes, unguided": ["MODEL.MDPR.PARTS", 3, "MODEL.MDPR.ATTENTION.GUIDED", False],
    "IBN and squeeze-and-excitation": ["MODEL.BACKBONE.WITH_IBN", True, "MODEL.BACKBONE.WITH_SE", True],
    "IBN and non-local, ResNet-50": [
        *("MODEL.BACKBONE.WITH_IBN", True, "MODEL.BACKBONE.WITH_NL", True, "MODEL.BACKBONE.DEPTH", "50x")
    ],
    "without fusion": [
        *("MODEL.MDPR.FUSION.ENABLED", False, "MODEL.MDPR.INFERENCE_FEATURES", ("soft3", "hard_global"))
    ],
    **{f"{kind} fusion": ["MODEL.MDPR.FUSION.KIND", kind] for kind in ("depthwise", "bottleneck")},
    **{f"{branch} branch alone": overrides for branch, overrides in SINGLE_BRANCH.items()},
    **{f"{name} alone": ["MODEL.MDPR.INFERENCE_FEATURES", (name,)] for name in INFERENCE_FEATURES},
    **{
        name: ["MODEL.BACKBONE.NAME", f"build_{name}_backbone", "MODEL.BACKBONE.DEPTH", depth]
        for name, depth in {
            "resnest": "50x",
            "osnet": "x0_25",
            "regnet": "800y",
            "repvgg": "A0",
        }.items()
    },
}


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 3, 96, 48, generator=torch.Generator().manual_seed(0)) * 255


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return with_random_batch_norms(small_model())


@pytest.mark.parametrize("overrides", SETTINGS.values(), ids=SETTINGS)
def test_features_are_those_of_the_unfolded_model(overrides, images):
    torch.manual_seed(0)
    model = with_random_batch_norms(small_model(*overrides))
    for module in model.modules():  # non-local blocks are cubic in their input: at full strength nothing is finite
        if type(module).__name__ == "Non_local":
            module.W[1].weight.data.mul_(1e-4)
    with torch.no_grad():
        expected = model(images)
    folded = fold(model)
    features = folded(images)
    assert features.dtype == torch.float32 and list(features.shape) == list(expected.shape)
    assert sum(folded.features.values()) == expected.size(1)
    assert relative_difference(features, expected) < 1e-5
    assert not [name for name, module in folded.named_modules() if is_batch_norm(module)]


def test_the_model_and_the_random_numbers_stay_as_they_were(model, images):
    trained = copy.deepcopy(model).train()
    before, names = copy.deepcopy(trained.state_dict()), [name for name, _ in trained.named_modules()]
    state = torch.get_rng_state()
    folded = fold(trained)
    folded(images)
    assert trained.training and names == [name for name, _ in trained.named_modules()]
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert [p.requires_grad for p in trained.parameters()] == [p.requires_grad for p in model.parameters()]
    assert {id(p) for p in folded.parameters()}.isdisjoint({id(p) for p in trained.parameters()})


@pytest.mark.parametrize(
    ("feature", "without"),
    [
        ("hard_global", ["backbone.soft", "soft", "heads.fusion", "hard.stripe_embeddings"]),
        ("hard_parts", ["backbone.soft", "soft", "heads.fusion", "hard.global_embedding"]),
        ("soft4", ["backbone.hard", "hard", "heads.fusion", "soft.refine3", "soft.embedding3"]),
        ("soft3", ["backbone.hard", "hard", "heads.fusion", "soft.embedding4", "backbone.soft.stage4"]),
        ("fusion", ["heads.embedding_heads.soft4", "heads.embedding_heads.hard_part0"]),
    ],
)
def test_what_a_feature_does_not_need_is_gone(feature, without):
    folded = fold(small_model("MODEL.MDPR.INFERENCE_FEATURES", (feature,)))
    names = {name for name, _ in folded.network.named_modules()} | {n for n, _ in folded.network.named_parameters()}
    never = ["soft.attention_maker4", "soft.guidance", "soft.pooling3", "heads.predictors", "heads.identity_losses"]
    present = [
        gone for gone in [*without, *never] if any(name == gone or name.startswith(gone + ".") for name in names)
    ]
    assert not present
    assert not [name for name in names if "embedding_heads" in name and name.endswith(("cls_layer", ".weight"))]


def test_multiplications_are_fewer_and_winograd_takes_a_quarter(images):
    torch.manual_seed(0)
    model = with_random_batch_norms(small_model("MODEL.MDPR.EMBEDDING_DIM", 128))

    def flops(network: nn.Module) -> int:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(images)
        return counter.get_total_flops()

    plain, fast = fold(model, winograd=False), fold(model)
    assert any(isinstance(module, WinogradConv2d) for module in fast.modules())
    assert not any(isinstance(module, WinogradConv2d) for module in plain.modules())
    # The fusion block's 1x1 convolutions have as many multiplications as these: (1 + 2 * 4 + 16) * E * E a position
    positions = 3 * 6 * 3
    assert flops(model) - flops(plain) == 2 * 25 * 128 * 128 * positions
    assert flops(fast) < 0.6 * flops(plain)


def test_a_batch_dict_and_whole_numbers_are_taken_as_well_as_a_tensor(model, images):
    folded = fold(model)
    whole = images.round().to(torch.uint8)
    torch.testing.assert_close(folded({"images": whole, "targets": torch.zeros(3)}), folded(whole.float()))


def test_it_stays_in_evaluation_mode(model, images):
    folded = fold(model)
    features = folded(images)
    assert not folded.train().training and not any(module.training for module in folded.modules())
    torch.testing.assert_close(folded(images), features)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_the_direction_of_the_features(model, images, dtype):
    reduced = fold(model, dtype)
    assert {p.dtype for p in reduced.network.backbone.parameters()} == {dtype}
    assert {p.dtype for p in reduced.network.heads.embedding_heads.parameters()} == {torch.float32}
    features = reduced(images)
    assert features.dtype == torch.float32
    assert torch.cosine_similarity(features, fold(model)(images)).min() > 0.999


@pytest.mark.parametrize("bias", [True, False])
def test_a_1x1_and_a_3x3_convolution_are_one(bias):
    first, second = nn.Conv2d(5, 4, 1, bias=False), nn.Conv2d(4, 6, 3, padding=1, bias=bias)
    features = torch.randn(2, 5, 4, 3)
    torch.testing.assert_close(merged_convolution(first, second)(features), second(first(features)))


def test_convolutions_that_are_not_exactly_one_are_not_merged():
    second = nn.Conv2d(4, 6, 3, padding=1)
    for first in (nn.Conv2d(5, 4, 1), nn.Conv2d(5, 4, 1, stride=2, bias=False), nn.Conv2d(5, 4, 3, bias=False)):
        with pytest.raises(ValueError, match="are not one convolution"):
            merged_convolution(first, second)


STOCK = {
    "bag of tricks": ["MODEL.HEADS.POOL_LAYER", "FastGlobalAvgPool"],
    "classifier": ["MODEL.HEADS.NAME", "ClasHead"],
    "MGN": [
        *("MODEL.META_ARCHITECTURE", "MGN", "MODEL.HEADS.EMBEDDING_DIM", 16),
        *("MODEL.BACKBONE.DEPTH", "50x", "MODEL.BACKBONE.FEAT_DIM", 2048),
    ],
    "SBS on ViT": [
        *("MODEL.BACKBONE.NAME", "build_vit_backbone", "MODEL.BACKBONE.DEPTH", "small"),
        *("MODEL.BACKBONE.FEAT_DIM", 768, "MODEL.HEADS.POOL_LAYER", "Identity"),
    ],
}


@pytest.mark.parametrize("overrides", STOCK.values(), ids=STOCK)
def test_the_toolboxs_own_methods_fold(overrides, images):
    cfg = get_cfg()
    cfg.merge_from_list(
        [
            *("MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", False, "MODEL.HEADS.NUM_CLASSES", 4),
            *("MODEL.BACKBONE.DEPTH", "18x", "MODEL.BACKBONE.FEAT_DIM", 512, "MODEL.HEADS.WITH_BNNECK", True),
            *("INPUT.SIZE_TRAIN", [96, 48], "INPUT.SIZE_TEST", [96, 48], *overrides),
        ]
    )
    torch.manual_seed(0)
    model = with_random_batch_norms(build_model(cfg))
    with torch.no_grad():
        expected = model(images)
    folded = fold(model)
    assert relative_difference(folded(images), expected) < 1e-5
    assert folded.features == {"features": expected.size(1)}
    assert not [name for name, module in folded.named_modules() if is_batch_norm(module)]


EMPTY = {
    "MDPR, by Winograd's algorithm": ["MODEL.MDPR.EMBEDDING_DIM", 128],
    **{f"MDPR, {name} alone": ["MODEL.MDPR.INFERENCE_FEATURES", (name,)] for name in ("hard_parts", "soft3")},
    "Baseline": [
        *("MODEL.META_ARCHITECTURE", "Baseline", "MODEL.HEADS.NAME", "EmbeddingHead"),
        *("MODEL.BACKBONE.FEAT_DIM", 512, "MODEL.HEADS.EMBEDDING_DIM", 8),
    ],
    **{
        f"Baseline with {pooling}": [
            *("MODEL.META_ARCHITECTURE", "Baseline", "MODEL.HEADS.NAME", "EmbeddingHead"),
            *("MODEL.BACKBONE.FEAT_DIM", 512, "MODEL.HEADS.POOL_LAYER", pooling),
        ]
        for pooling in ("GeneralizedMeanPoolingP", "FastGlobalAvgPool", "GlobalMaxPool")
    },
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("overrides", EMPTY.values(), ids=EMPTY)
def test_a_frame_without_detections_has_no_features_of_the_usual_length(overrides, dtype, images):
    folded = fold(small_model(*overrides), dtype)
    features = folded(images[:0])
    assert features.shape == (0, sum(folded.features.values())) and features.dtype == torch.float32


class _OwnModel(nn.Module):
    """An architecture that says itself how it folds, and what evaluation asks it for."""

    folds_from = "convolutions"
    pairings = ("all", "same camera")

    def __init__(self):
        super().__init__()
        self.register_buffer("pixel_mean", torch.full((1, 3, 1, 1), 100.0))
        self.register_buffer("pixel_std", torch.full((1, 3, 1, 1), 50.0))
        self.convolutions = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        self.teacher = nn.Linear(8, 8)

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def distance(self, queries: torch.Tensor, gallery: torch.Tensor) -> torch.Tensor:
        return torch.cdist(queries, gallery, p=1)

    def feature_lengths(self) -> dict[str, int]:
        return {"whole": 8, "upper": 8}

    def simplify_for_inference(self) -> None:
        self.teacher = None

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        maps = self.convolutions((images - self.pixel_mean) / self.pixel_std)
        return {"whole": maps.mean(dim=(2, 3)), "upper": maps[:, :, :20].mean(dim=(2, 3))}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_model_of_the_users_own_says_how_it_folds(images, dtype):
    model = with_random_batch_norms(_OwnModel())
    folded, expected = fold(model, dtype), model(images)
    features = folded(images)
    assert features.keys() == expected.keys() == folded.features.keys()
    assert {value.dtype for value in features.values()} == {torch.float32}
    assert all(relative_difference(features[name], expected[name]) < 0.01 for name in features)
    assert folded.network.teacher is None and model.teacher is not None
    assert not any(is_batch_norm(module) for module in folded.modules())


def test_modules_that_a_model_names_stay_in_float32(images):
    class WithHead(_OwnModel):
        float32_modules = ("head",)

        def __init__(self):
            super().__init__()
            self.head, self.other = nn.Sequential(nn.Linear(8, 4)), nn.Linear(8, 4)

        def forward(self, images):
            whole = super().forward(images)["whole"]
            return {"exact": self.head(whole.float()), "rounded": self.other(whole), "order": whole.argsort(dim=1)}

    model = with_random_batch_norms(WithHead())
    folded = fold(model, torch.bfloat16)
    assert folded.network.head[0].weight.dtype == torch.float32
    assert folded.network.other.weight.dtype == folded.network.convolutions[1][0].weight.dtype == torch.bfloat16
    outputs = folded(images)
    assert [value.dtype for value in outputs.values()] == [torch.float32, torch.float32, torch.int64]
    torch.testing.assert_close(outputs["exact"], model(images)["exact"].detach(), atol=0.02, rtol=0.02)


def test_what_evaluation_asks_a_model_for_is_kept(images, model):
    folded = fold(_OwnModel())
    whole = folded(images)["whole"]
    torch.testing.assert_close(folded.distance(whole, whole), torch.cdist(whole, whole, p=1))
    assert folded.distance.__self__ is folded.network
    assert folded.pairings == ("all", "same camera")
    assert not hasattr(fold(model), "distance") and not hasattr(fold(model), "pairings")


def test_another_kind_of_model_is_refused_by_name():
    with pytest.raises(
        UsageError, match=r"takes MDPR, FastReID's own models, .*; Sequential is none of them"
    ) as raised:
        fold(nn.Sequential())
    assert "\n" not in str(raised.value)
