"""Batches are, bit for bit, those of FastReID's own pipeline, though their images go through other hands as bytes."""

import os
import pickle
import random
import subprocess
import sys
from multiprocessing.reduction import ForkingPickler

import fastreid
import numpy as np
import pytest
import torch
from fastreid.data.build import fast_batch_collator
from fastreid.data.common import CommDataset
from fastreid.data.transforms import build_transforms
from fastreid.data.transforms.transforms import RandomPatch
from PIL import Image
from small_runs import small_config
from torch.utils.data import DataLoader, SequentialSampler

import mdpr_fastreid
from mdpr_fastreid.bench.stock_loader import stock_loader
from mdpr_fastreid.data import Item, build_train_loader, pipeline, training_set, transforms
from mdpr_fastreid.data.erased import pack_erased
from mdpr_fastreid.data.masks import PART_GROUPS
from mdpr_fastreid.data.pipeline import collate, to_floats
from tests.support.image_trees import pictures_of_all_sizes
from tests.support.mask_files import write_fields, write_labels

SIZE = ["INPUT.SIZE_TRAIN", [48, 32]]
PARTS = {
    "crop": ["INPUT.CROP.ENABLED", True, "INPUT.CROP.SIZE", [48, 32]],
    "a crop that fits along one side": [
        *("INPUT.CROP.ENABLED", True, "INPUT.CROP.SIZE", [28, 24]),
        *("INPUT.PADDING.ENABLED", True, "INPUT.PADDING.SIZE", 10),
    ],
    "padding": ["INPUT.PADDING.ENABLED", True],
    "mirrored padding": ["INPUT.PADDING.ENABLED", True, "INPUT.PADDING.MODE", "reflect"],
    "color jitter": ["INPUT.CJ.ENABLED", True],
    "affine": ["INPUT.AFFINE.ENABLED", True],
    "auto augmentation": ["INPUT.AUTOAUG.ENABLED", True, "INPUT.AUTOAUG.PROB", 0.5],
    "augmix": ["INPUT.AUGMIX.ENABLED", True],
    "the shorter side": ["INPUT.SIZE_TRAIN", [40], "INPUT.PADDING.ENABLED", True],
}
EVERYTHING = [*PARTS["padding"], *PARTS["affine"], *PARTS["color jitter"], *PARTS["auto augmentation"]]
ERASING = ["INPUT.REA.ENABLED", True, "INPUT.REA.PROB", 0.7]
PATCHING = ["INPUT.RPT.ENABLED", True]
MEAN = [123.675, 116.28, 103.53]


@pytest.fixture
def items(tmp_path):
    return pictures_of_all_sizes(tmp_path, 24)


def seed(number):
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


def our_loader(cfg, items):
    dataset = training_set(cfg, items)
    return build_train_loader(cfg, train_set=dataset, sampler=SequentialSampler(dataset))


def both(cfg, items, patches=3):
    """FastReID's loader and ours, with random patch pasting from the third image on."""
    loaders = stock_loader(cfg, items), our_loader(cfg, items)
    for loader in loaders:
        for step in loader.dataset.transform.transforms:
            if isinstance(step, RandomPatch):
                step.min_sample_size = patches
    return loaders


def assert_same_epochs(stock, ours, epochs=2):
    seed(1)
    expected = [batch for _ in range(epochs) for batch in stock]
    seed(1)
    actual = [batch for _ in range(epochs) for batch in ours]
    for theirs, batch in zip(expected, actual, strict=True):
        assert batch["images"].dtype == torch.float32
        assert batch["images"].is_contiguous()
        assert torch.equal(theirs["images"], batch["images"])
        assert torch.equal(theirs["targets"], batch["targets"])
        assert torch.equal(theirs["camids"], batch["camids"])
        assert theirs["img_paths"] == batch["img_paths"]
        assert theirs.keys() == batch.keys()
    return torch.cat([batch["images"] for batch in expected])


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("options", "fill"),
    [
        pytest.param(ERASING + PATCHING, MEAN, id="erased and patched"),
        pytest.param(ERASING + PATCHING, [0, 0, 0], id="erased to black"),
        pytest.param(ERASING + PATCHING, [7, 0.5, 255.0], id="erased to whole numbers and others"),
        pytest.param(ERASING + PATCHING, [3.5], id="erased to one number"),
        pytest.param(ERASING, MEAN, id="erased"),
        pytest.param(PATCHING, MEAN, id="patched"),
        pytest.param([], MEAN, id="neither"),
    ],
)
def test_batches_are_stocks(tmp_path, items, options, fill, workers):
    settings = ["DATALOADER.NUM_WORKERS", workers, "SOLVER.IMS_PER_BATCH", 8, "INPUT.REA.VALUE", fill]
    cfg = small_config(tmp_path, *settings, *SIZE, *EVERYTHING, *options)
    everything = assert_same_epochs(*both(cfg, items))
    if options[:4] == ERASING:
        assert (everything[:, 0] == torch.tensor(fill[0])).float().mean() > 0.02, "something was erased"


@pytest.mark.parametrize("part", PARTS)
def test_every_transform_alone_is_stocks(tmp_path, items, part):
    settings = ["DATALOADER.NUM_WORKERS", 0, "SOLVER.IMS_PER_BATCH", 8, *SIZE, *PARTS[part]]
    assert_same_epochs(*both(small_config(tmp_path, *settings), items), epochs=4)


@pytest.mark.parametrize("crop", [[], ["INPUT.CROP.ENABLED", True, "INPUT.CROP.SIZE", [30, 60]]])
def test_evaluations_images_are_stocks(tmp_path, items, crop):
    cfg = small_config(tmp_path, "INPUT.SIZE_TEST", [50, 40], *crop)
    stock = CommDataset(items, build_transforms(cfg, is_train=False), relabel=False)
    ours = pipeline.FieldDataset(items, transforms.build_transforms(cfg, is_train=False), relabel=False)
    for index in range(len(items)):
        theirs, sample = stock[index], ours[index]
        assert torch.equal(theirs.pop("images"), sample.pop("images"))
        assert theirs == sample


def test_a_workers_images_are_bytes_and_those_of_this_process_floats(tmp_path, items):
    cfg = small_config(tmp_path, "DATALOADER.NUM_WORKERS", 1, "SOLVER.IMS_PER_BATCH", 8, *ERASING)
    loader = our_loader(cfg, items)
    assert loader.dataset[3]["images"].dtype == torch.float32
    batch = next(DataLoader.__iter__(loader))
    assert batch["images"].dtype == torch.uint8 and batch["images"].shape == (8, 3, 32, 16)
    assert batch["images erased"].dtype == torch.uint8 and batch["images erased"].shape == (8, 32, 2)
    assert next(iter(loader))["images"].dtype == torch.float32


def test_what_was_cut_out_before_the_workers_start_is_pasted_by_them(tmp_path, items):
    settings = ["DATALOADER.NUM_WORKERS", 1, "SOLVER.IMS_PER_BATCH", 8, *SIZE, *EVERYTHING, *ERASING, *PATCHING]

    def first_batch(loader):
        seed(2)
        for index in range(len(loader.dataset)):
            assert loader.dataset[index]["images"].dtype == torch.float32
        return next(iter(loader))["images"]

    stock, ours = both(small_config(tmp_path, *settings), items)
    assert torch.equal(first_batch(stock), first_batch(ours))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("groups", ["", *PART_GROUPS._obj_map])
def test_images_beside_masks_of_any_grouping_are_stocks(tmp_path, items, groups, workers):
    options = [*PARTS["padding"], *PARTS["affine"], *PARTS["color jitter"], *ERASING, *PATCHING]
    fields = ["INPUT.FIELDS", ("mask",), "INPUT.MASK.GROUPS", groups, "INPUT.MASK.MISSING", "ignore"]
    settings = ["DATALOADER.NUM_WORKERS", workers, "SOLVER.IMS_PER_BATCH", 8, *SIZE, *options]
    with_masks = []
    for number, item in enumerate(items):
        if groups.startswith("pifpaf"):
            mask = write_fields(tmp_path / f"masks/{number}.npy", number)
        else:
            with Image.open(item[0]) as image:
                labels = np.random.default_rng(number).integers(0, 9, image.size[::-1])
            mask = write_labels(tmp_path / f"masks/{number}.png", labels)
        with_masks.append(Item(*item, {"mask": str(mask)} if number % 5 else {}))
    cfg = small_config(tmp_path, *settings)
    stock = both(cfg, items)[0]
    cfg.merge_from_list(fields)
    seed(1)
    expected = [batch for _ in range(2) for batch in stock]
    ours = both(cfg, with_masks)[1]
    seed(1)
    for theirs, batch in zip(expected, [batch for _ in range(2) for batch in ours], strict=True):
        assert torch.equal(theirs["images"], batch["images"]) and theirs["img_paths"] == batch["img_paths"]
        assert batch["masks"].shape == (8, 48, 32) and batch["masks"].dtype == torch.uint8
        assert (batch["masks"].flatten(1).amax(1) > 0).all()


class _Twice(CommDataset):
    def __getitem__(self, index):
        item = super().__getitem__(index)
        return {**item, "images": item["images"] * 0.5}


@pytest.mark.parametrize("workers", [0, 1])
def test_a_projects_own_data_set_stays_as_it_is(tmp_path, items, workers):
    cfg = small_config(tmp_path, "DATALOADER.NUM_WORKERS", workers, "SOLVER.IMS_PER_BATCH", 8)
    dataset = _Twice(items, build_transforms(cfg), relabel=True)
    seed(4)
    images = next(iter(build_train_loader(cfg, train_set=dataset, sampler=SequentialSampler(dataset))))["images"]
    assert images.dtype == torch.float32 and (images % 1 == 0.5).any()


def test_a_batch_is_stocks_and_lies_in_shared_memory_when_a_worker_makes_it():
    generator = torch.Generator().manual_seed(0)
    images = [torch.randint(0, 256, (3, 48, 24), generator=generator).float() for _ in range(8)]
    items = [{"images": image, "targets": i, "x": i / 3, "img_paths": f"{i}.jpg"} for i, image in enumerate(images)]
    expected = fast_batch_collator(items)
    for workers in (0, 1):
        (batch,) = DataLoader(items, batch_size=8, num_workers=workers, collate_fn=collate)
        assert batch["img_paths"] == expected["img_paths"]
        for key in ("images", "targets", "x"):
            assert torch.equal(batch[key], expected[key]) and batch[key].dtype == expected[key].dtype
        assert batch["images"].is_shared() == bool(workers)


def test_erased_bytes_become_the_fill_in_batches_samples_and_clips():
    pixels = torch.tensor([[[5, 6]], [[7, 8]], [[9, 10]]], dtype=torch.uint8)
    erased = pack_erased(torch.tensor([[0, 1]], dtype=torch.uint8))
    expected = [[[5.0, 0.5]], [[7.0, 1.5]], [[9.0, 2.5]]]
    for shape in [(), (1,), (1, 1)]:
        pictures = {"images": pixels.reshape(*shape, *pixels.shape), "images erased": erased.reshape(*shape, 1, 1)}
        batch = {**pictures, "targets": 3}
        floats = to_floats(batch, ["images"], [0.5, 1.5, 2.5])
        assert floats.keys() == {"images", "targets"} and floats["targets"] == 3
        assert floats["images"].reshape(3, 1, 2).tolist() == expected
        assert batch["images"].dtype == torch.uint8, "the batch itself is left alone"


def test_a_data_set_is_pickled_whole_for_spawned_workers(tmp_path, items):
    cfg = small_config(tmp_path, *ERASING, *PATCHING, *EVERYTHING)
    dataset = training_set(cfg, items)
    sent = ForkingPickler.loads(ForkingPickler.dumps(dataset))
    seed(5)
    expected = [dataset[index]["images"] for index in range(8)]
    seed(5)
    assert all(torch.equal(sent[index]["images"], expected[index]) for index in range(8))
    assert pickle.loads(pickle.dumps(pipeline.send_bytes)) is pipeline.send_bytes


THE_WAY_OF_A_BATCH = [
    "data/loaders.py: __iter__",
    "data/pipeline.py: __getitem__",
    "data/resized.py: picture",
    "data/reading.py: read_image",
    "data/transforms.py: __call__",
    "data/fields.py: to_tensor",
    "data/pipeline.py: to_floats",
    "data/pipeline.py: collate",
]
"""From a file to a batch; with workers, floats are made last, in the process that trains."""


def test_a_batch_goes_this_way_and_nowhere_through_a_patch(tmp_path, items):
    settings = ["SEED", 1, "SOLVER.IMS_PER_BATCH", 8, "DATALOADER.CACHE", str(tmp_path / "kept"), *SIZE, *ERASING]
    loader = our_loader(small_config(tmp_path, *settings, *PATCHING, *PARTS["padding"]), items)
    called = []

    def note(frame, event, _):
        if event == "call":
            called.append((frame.f_code.co_filename, frame.f_code.co_name))

    sys.setprofile(note)
    try:
        next(iter(loader))
    finally:
        sys.setprofile(None)
    package = os.path.dirname(mdpr_fastreid.__file__) + os.sep
    ours = [f"{path.removeprefix(package)}: {name}" for path, name in called if path.startswith(package)]
    assert list(dict.fromkeys(hop for hop in ours if hop in THE_WAY_OF_A_BATCH)) == THE_WAY_OF_A_BATCH
    assert not [hop for hop in ours if hop.startswith("compat")]
    toolbox = os.path.dirname(fastreid.__file__) + os.sep
    theirs = {path.removeprefix(toolbox) for path, _ in called if path.startswith(toolbox)}
    assert theirs <= {"data/common.py", "data/transforms/transforms.py", "utils/file_io.py"}, "and reading of files"


def test_spawned_workers_need_no_script_to_import(tmp_path, items):
    code = f"""
import mdpr_fastreid
from mdpr_fastreid.data import training_set
from mdpr_fastreid.data.loaders import PrefetchLoader
from mdpr_fastreid.data.pipeline import collate, send_bytes
from fastreid.config import get_cfg
cfg = get_cfg()
cfg.merge_from_list(["INPUT.SIZE_TRAIN", [48, 32], "INPUT.REA.ENABLED", True, "INPUT.RPT.ENABLED", True])
cfg.DATALOADER.CACHE, cfg.DATALOADER.SKIP_DAMAGED = {str(tmp_path / "kept")!r}, True
dataset = training_set(cfg, {items[:4]!r})
loader = PrefetchLoader(dataset=dataset, batch_size=4, num_workers=1, collate_fn=collate, worker_init_fn=send_bytes,
                        finish=dataset.to_floats, multiprocessing_context="spawn")
print(next(iter(loader))["images"].shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert "torch.Size([4, 3, 48, 32])" in done.stdout, done.stderr


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("workers", [0, 1])
def test_on_a_gpu_bytes_are_moved_and_become_the_same_floats_there(tmp_path, items, workers):
    options = ["DATALOADER.NUM_WORKERS", workers, "SOLVER.IMS_PER_BATCH", 8, *SIZE, *EVERYTHING, *ERASING, *PATCHING]
    stock, ours = both(small_config(tmp_path, *options, "MODEL.DEVICE", "cuda"), items)
    seed(1)
    expected = [batch for _ in range(2) for batch in stock]
    seed(1)
    actual = [batch for _ in range(2) for batch in ours]
    for theirs, batch in zip(expected, actual, strict=True):
        assert batch["images"].is_cuda and batch["targets"].is_cuda
        assert torch.equal(theirs["images"], batch["images"])
