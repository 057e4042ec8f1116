"""What is erased travels as bits, and random erasing has FastReID's places unless the config names others."""

import numpy as np
import pytest
import torch
import torchvision.transforms as v1
from small_runs import small_config
from support.tracklets import tracklets
from torch.utils.data import DataLoader

from mdpr_fastreid.config import check_config
from mdpr_fastreid.data import build_train_loader, training_set
from mdpr_fastreid.data.erased import erased_in, erased_key, pack_erased
from mdpr_fastreid.data.transforms import Erasing, build_transforms
from mdpr_fastreid.errors import SettingsError


@pytest.mark.parametrize("shape", [(1, 1), (5, 8), (3, 4, 9), (2, 3, 7, 31), (2, 6, 128)])
def test_marks_are_packed_into_bits_and_come_back(shape):
    marked = torch.from_numpy(np.random.default_rng(0).integers(0, 2, shape, np.uint8))
    packed = pack_erased(marked)
    assert packed.dtype == torch.uint8 and packed.shape == (*shape[:-1], -(-shape[-1] // 8))
    pictures = torch.zeros(*shape[:-2], 3, *shape[-2:])
    assert torch.equal(erased_in({"images": pictures, erased_key("images"): packed}, "images"), marked.bool())


def sent(tmp_path, clips, *options):
    """A batch as a worker sends it."""
    size = ["INPUT.SIZE_TRAIN", [256, 128], "SOLVER.IMS_PER_BATCH", clips, "DATALOADER.NUM_WORKERS", 1]
    cfg = small_config(tmp_path, *size, "INPUT.FIELDS", ("clip",), "INPUT.REA.ENABLED", True, *options)
    items = tracklets(tmp_path, [2] * clips, identities=clips // 4)
    return next(DataLoader.__iter__(build_train_loader(cfg, train_set=training_set(cfg, items))))


@pytest.mark.parametrize("consistent", [True, False])
def test_a_batch_of_clips_is_a_quarter_of_its_floats_and_a_bit_for_each_pixel(tmp_path, consistent):
    choice = ["INPUT.CLIP.WITH_IMAGE", False, "INPUT.CLIP.CONSISTENT", consistent]
    batch = sent(tmp_path, 48, *choice)
    pixels = 48 * 8 * 256 * 128
    assert batch["clips"].shape == (48, 8, 3, 256, 128)
    tensors = [value for value in batch.values() if isinstance(value, torch.Tensor)]
    taken = sum(tensor.untyped_storage().nbytes() for tensor in tensors)
    labels = 2 * 48 * 8  # identities and cameras
    assert taken == 3 * pixels + pixels // 8 + labels
    assert taken / 2**20 < 38


def test_images_and_clips_together_take_as_little(tmp_path):
    batch = sent(tmp_path, 8)
    taken = sum(value.untyped_storage().nbytes() for value in batch.values() if isinstance(value, torch.Tensor))
    assert taken == 8 * (8 + 1) * 256 * 128 * 25 // 8 + 2 * 8 * 8


@pytest.mark.parametrize("options", [(), ((0.02, 0.4), (0.3, 3.3)), ((0.1, 0.2), (0.7, 1.4))])
def test_erased_places_are_those_of_torchvision_within_the_configured_limits(options):
    cfg = small_config("", "INPUT.REA.ENABLED", True, "INPUT.REA.PROB", 1.0)
    if options:
        cfg.merge_from_list(["INPUT.REA.AREA", options[0], "INPUT.REA.RATIO", options[1]])
    (erasing,) = [step for step in build_transforms(cfg, is_train=True).transforms if isinstance(step, Erasing)]
    reference = v1.RandomErasing(1.0, *options, value=9)  # FastReID's has no options
    areas, ratios = [], []
    for number in range(200):
        coded, image = torch.zeros(4, 64, 48, dtype=torch.uint8), torch.zeros(3, 64, 48)
        torch.manual_seed(number)
        erasing({"images": coded})
        torch.manual_seed(number)
        assert torch.equal(coded[3] == 1, reference(image)[0] == 9)
        height, width = int(coded[3].any(1).sum()), int(coded[3].any(0).sum())
        areas.append(height * width / (64 * 48))
        ratios.append(height / width)
    area, ratio = options or ((0.02, 0.33), (0.3, 3.3))
    assert area[0] * 0.8 < min(areas) and max(areas) < area[1] * 1.05
    assert max(areas) > area[0] + 0.8 * (area[1] - area[0])
    assert ratio[0] * 0.85 < min(ratios) and max(ratios) < ratio[1] * 1.15


@pytest.mark.parametrize(
    ("key", "value"), [("AREA", (0.1, 1.5)), ("AREA", (0.3, 0.1)), ("AREA", (0.1,)), ("RATIO", (0.0, 1.0))]
)
def test_limits_that_are_none_are_refused(key, value):
    cfg = small_config("", "INPUT.REA.ENABLED", True)
    cfg.INPUT.REA[key] = value
    with pytest.raises(SettingsError, match=f"INPUT.REA.{key} must be a list of 2 values"):
        check_config(cfg, ("model",))
