"""Batches are stock's bit for bit, with fewer copies."""

import random

import torch
from fastreid.data import build as data_build
from fastreid.data.transforms.transforms import RandomPatch
from torch.utils.data import DataLoader


def stock_patches(images):
    """FastReID's own transform, which the mend wraps."""
    patch = RandomPatch(min_sample_size=5)
    return [RandomPatch.__call__.__wrapped__(patch, image.clone()) for image in images], patch


def images_of(count):
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 256, (3, 48, 24), generator=generator).float() for _ in range(count)]


def test_random_patches_are_stocks_and_the_pool_keeps_no_images():
    random.seed(3)
    expected, stock = stock_patches(images_of(40))
    random.seed(3)
    ours = RandomPatch(min_sample_size=5)
    actual = [ours(image.clone()) for image in images_of(40)]
    assert all(torch.equal(*pair) for pair in zip(expected, actual, strict=True))
    assert all(torch.equal(*pair) for pair in zip(stock.patchpool, ours.patchpool, strict=True))
    assert all(patch.untyped_storage().nbytes() == patch.numel() * 4 for patch in ours.patchpool)
    assert any(patch.untyped_storage().nbytes() > patch.numel() * 4 for patch in stock.patchpool)


def test_a_batch_is_stocks_and_lies_in_shared_memory_when_a_worker_makes_it():
    items = [{"images": image, "targets": i, "img_paths": f"{i}.jpg"} for i, image in enumerate(images_of(8))]
    expected = data_build.fast_batch_collator.__wrapped__(items)
    for workers in (0, 1):
        loader = DataLoader(items, batch_size=8, num_workers=workers, collate_fn=data_build.fast_batch_collator)
        (batch,) = loader
        assert batch["img_paths"] == expected["img_paths"]
        assert torch.equal(batch["targets"], expected["targets"])
        assert torch.equal(batch["images"], expected["images"])
        assert batch["images"].dtype == expected["images"].dtype
        assert batch["images"].is_shared() == bool(workers)
