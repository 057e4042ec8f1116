"""Every transform of FastReID's builds and runs with today's torchvision, NumPy and Pillow."""

import random
import warnings

import numpy as np
import pytest
import torch
from fastreid.data.transforms import build_transforms
from fastreid.data.transforms.functional import to_tensor
from PIL import Image
from small_runs import small_config

PARTS = {
    "crop": ["INPUT.CROP.ENABLED", True, "INPUT.CROP.SIZE", [32, 16]],
    "flip": ["INPUT.FLIP.ENABLED", True],
    "padding": ["INPUT.PADDING.ENABLED", True],
    "color jitter": ["INPUT.CJ.ENABLED", True, "INPUT.CJ.PROB", 1.0],
    "affine": ["INPUT.AFFINE.ENABLED", True],
    "auto augmentation": ["INPUT.AUTOAUG.ENABLED", True, "INPUT.AUTOAUG.PROB", 1.0],
    "augmix": ["INPUT.AUGMIX.ENABLED", True, "INPUT.AUGMIX.PROB", 1.0],
    "random erasing": ["INPUT.REA.ENABLED", True, "INPUT.REA.PROB", 1.0],
    "random patch": ["INPUT.RPT.ENABLED", True, "INPUT.RPT.PROB", 1.0],
}


def image(mode="RGB", size=(20, 40)):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize("part", PARTS)
def test_a_training_transform_gives_an_image_of_the_size_asked_for(tmp_path, part):
    transform = build_transforms(small_config(tmp_path, *PARTS[part]), is_train=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        for seed in range(150):  # enough for every policy of auto augmentation and a full patch pool
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            result = transform(image())
            assert result.shape == (3, 32, 16)
            assert result.dtype == torch.float32


def test_the_affine_transform_is_the_one_stock_asks_for(tmp_path):
    from torchvision.transforms import InterpolationMode

    transform = build_transforms(small_config(tmp_path, *PARTS["affine"]), is_train=True)
    affine = next(part for part in transform.transforms if type(part).__name__ == "RandomAffine")
    assert (affine.degrees, affine.scale, affine.shear) == ([-10.0, 10.0], [0.9, 1.1], [-0.1, 0.1])
    assert affine.interpolation is InterpolationMode.NEAREST
    assert affine.fill == 0


def test_test_transforms_resize_only(tmp_path):
    result = build_transforms(small_config(tmp_path), is_train=False)(image())
    expected = np.asarray(image().resize((16, 32), Image.Resampling.BICUBIC), np.float32).transpose(2, 0, 1)
    np.testing.assert_array_equal(result.numpy(), expected)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "YCbCr", "P", "CMYK"])
def test_eight_bit_images_become_floats_of_the_same_values(mode):
    picture = image(mode)
    expected = np.asarray(picture, np.float32)
    expected = expected[..., None] if expected.ndim == 2 else expected
    np.testing.assert_array_equal(to_tensor(picture).numpy(), expected.transpose(2, 0, 1))


@pytest.mark.parametrize(("mode", "dtype"), [("I", torch.int32), ("F", torch.float32), ("I;16", torch.int16)])
def test_wider_images_keep_their_type(mode, dtype):
    values = np.arange(12).reshape(3, 4)
    picture = Image.fromarray(values.astype({"I": np.int32, "F": np.float32, "I;16": np.uint16}[mode]))
    assert picture.mode == mode
    tensor = to_tensor(picture)
    assert tensor.dtype == dtype
    np.testing.assert_array_equal(tensor[0].numpy(), values)


def test_a_black_and_white_image_becomes_0_and_255():
    assert set(to_tensor(image("1")).unique().tolist()) <= {0.0, 255.0}
    assert to_tensor(Image.new("1", (2, 2), 1)).tolist() == [[[255.0, 255.0], [255.0, 255.0]]]


def test_arrays_become_tensors_with_the_channel_first():
    array = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert torch.equal(to_tensor(array), torch.arange(24).reshape(2, 4, 3).permute(2, 0, 1).float())
    assert to_tensor(array[..., 0]).shape == (1, 2, 4)
