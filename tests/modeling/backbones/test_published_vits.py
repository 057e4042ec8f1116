"""Vision transformers of TransReID, TransReID-SSL and CLIP-ReID: values of the published classes."""

import pytest
import torch
import torch.nn.functional as F
from support.golden_transformers import VIT, assert_golden, backbone, images, loaded, weights
from support.settings import small_config

from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.modeling import build_model
from mdpr_fastreid.modeling.backbones import build_backbone
from mdpr_fastreid.modeling.backbones.timm_models.positions import resized_positions

SMALL = {"embed_dim": 48, "depth": 4, "num_heads": 3}
SIZE = (96, 48)
STRIDE = "MODEL.BACKBONE.STRIDE_SIZE"


@pytest.mark.parametrize(
    ("case", "model", "settings"),
    [
        ("transreid stride 16", "vit_base_patch16_224", []),
        ("transreid stride 12", "vit_base_patch16_224", [STRIDE, (12, 12)]),
        ("transreid-ssl ICS stem", "transreid_ssl_ics_small", []),
    ],
)
@torch.no_grad()
def test_tokens_are_those_of_the_published_class(tmp_path, case, model, settings):
    expected = VIT[case]
    model = loaded(backbone(model, SMALL, SIZE, *settings), weights(expected["state_dict"]), tmp_path)
    assert_golden(model.forward_features(images([2, 3, *SIZE])), expected["tokens"])
    assert_golden(model(images([2, 3, *SIZE]))[:, :, 0, 0], expected["output"])


@pytest.mark.parametrize("prefix", ["image_encoder.", "visual."])
@torch.no_grad()
def test_tokens_of_clip_are_those_of_clip_reids_class(tmp_path, prefix):
    expected = VIT["CLIP-ReID image encoder"]
    published = weights(expected["state_dict"])
    model = backbone("vit_base_patch16_clip_quickgelu_224", {**SMALL, "depth": 12}, SIZE)
    text = {"positional_embedding": torch.zeros(77, 5), "transformer.resblocks.0.ln_1.weight": torch.zeros(5)}
    content = {prefix + name: value for name, value in published.items()} | (text if prefix == "visual." else {})
    tokens = loaded(model, content, tmp_path).forward_features(images([2, 3, *SIZE]))
    assert_golden(tokens, expected["tokens"])
    assert_golden(tokens @ published["proj"], expected["projected"])


def test_patches_of_another_stride_are_as_many_as_published():
    sizes = {
        ((256, 128), 12): (21, 10),
        ((256, 128), 11): (22, 11),
        ((384, 128), 12): (31, 10),
        ((256, 128), 16): (16, 8),
    }
    for (size, stride), grid in sizes.items():
        model = backbone("vit_tiny_patch16_224", {**SMALL, "depth": 1}, size, STRIDE, (stride, stride))
        assert model.patch_embed.grid_size == grid
        assert model.pos_embed.shape == (1, 1 + grid[0] * grid[1], 48)


def test_mdpr_trains_on_overlapping_patches():
    settings = ["MODEL.BACKBONE.NAME", "build_timm_backbone", "MODEL.BACKBONE.TIMM.MODEL", "vit_tiny_patch16_224"]
    settings += ["MODEL.BACKBONE.TIMM.ARGS", ("depth", 4, "embed_dim", 48, "num_heads", 3), STRIDE, (12, 12)]
    model = build_model(small_config(*settings)).train()
    losses = model({"images": torch.rand(8, 3, *SIZE) * 255, "targets": torch.arange(8) // 2})
    sum(losses.values()).backward()
    assert model.backbone.shapes(SIZE)[2:] == (7, 3)
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize(
    ("model", "stride", "message"),
    [
        ("vit_tiny_patch16_224", (20, 20), r"STRIDE_SIZE \(20, 20\) leaves gaps between patches of 16 x 16"),
        ("eva02_tiny_patch14_224", (12, 12), "the patches of eva02_tiny_patch14_224 cannot overlap"),
        ("transreid_ssl_ics_small", (12, 12), "the patches of transreid_ssl_ics_small cannot overlap"),
        ("solider_swin_tiny", (12, 12), "solider_swin_tiny is no plain vision transformer"),
    ],
)
def test_patches_that_cannot_overlap_are_one_line(model, stride, message):
    settings = ["MODEL.BACKBONE.NAME", "build_timm_backbone", "MODEL.BACKBONE.TIMM.MODEL", model, STRIDE, stride]
    size = [112, 56] if "14" in model else list(SIZE)
    with pytest.raises(SettingsError, match=message):
        build_backbone(small_config(*settings, "INPUT.SIZE_TRAIN", size, "INPUT.SIZE_TEST", size))


@pytest.mark.parametrize("old", [(14, 14), (16, 8), (24, 8)])
@pytest.mark.parametrize("new", [(24, 8), (21, 10), (16, 8)])
@pytest.mark.parametrize("prefix", [0, 1, 5])
def test_positions_are_interpolated_as_published(old, new, prefix):
    value = torch.randn(1, prefix + old[0] * old[1], 6, generator=torch.Generator().manual_seed(3))
    found = resized_positions(value, prefix, new)
    by_hand = F.interpolate(
        value[0, prefix:].T.reshape(1, 6, *old), size=new, mode="bilinear", align_corners=False, antialias=False
    )
    assert torch.equal(found[:, :prefix], value[:, :prefix])
    for row in range(new[0]):
        for column in range(new[1]):
            torch.testing.assert_close(found[0, prefix + row * new[1] + column], by_hand[0, :, row, column])


def test_positions_of_no_known_grid_stay_as_they_are():
    value = torch.randn(1, 1 + 21 * 10, 6)
    assert resized_positions(value, 1, (16, 8)) is value


@pytest.mark.parametrize(
    ("model", "arguments", "shape"),
    [
        ("vit_tiny_patch16_224", SMALL, (1, 1 + 14 * 14, 48)),
        ("deit3_small_patch16_224", SMALL, (1, 14 * 14, 48)),
        ("hiera_tiny_224", {"embed_dim": 16, "stages": (1, 1, 2, 1)}, (1, 56 * 56, 16)),
    ],
)
def test_position_embeddings_of_a_file_for_other_images_are_resized(tmp_path, model, arguments, shape):
    built = backbone(model, arguments, (96, 64))
    state_dict = {name: torch.full_like(value, 0.5) for name, value in built.state_dict().items()}
    state_dict["pos_embed"] = torch.full(shape, 3.0)
    loaded(built, state_dict, tmp_path)
    assert built.pos_embed.shape != shape
    assert (built.pos_embed == 3).all()
