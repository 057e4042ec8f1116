"""SynthReID in FastReID: registered, rendered on first use, read by stock classes."""

import logging
import os
import pickle
from multiprocessing import get_context

import numpy as np
import pytest
from fastreid.data.common import CommDataset
from fastreid.data.datasets import DATASET_REGISTRY
from PIL import Image
from small_runs import logged_by_fastreid

from mdpr_fastreid.data.synth import ensure, mask_path
from mdpr_fastreid.data.synth.presets import PRESETS

NAMES = {
    "SynthReIDTiny": "tiny",
    "SynthReIDDemo": "demo",
    "SynthReIDSmall": "small",
    "SynthReIDBase": "base",
    "SynthReIDOccluded": "occluded",
    "SynthReIDOccludedTiny": "occluded_tiny",
    "SynthReIDOccludedDemo": "occluded_demo",
    "SynthReIDOccludedSmall": "occluded_small",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data root with the tiny set rendered, small, by the command's means."""
    root = tmp_path_factory.mktemp("root")
    ensure(root, PRESETS["tiny"], size=(64, 32))
    return root


@pytest.fixture
def tiny(root):
    return DATASET_REGISTRY.get("SynthReIDTiny")(root=str(root))


@pytest.mark.parametrize("name", NAMES)
def test_every_set_is_registered_under_its_preset(name):
    assert DATASET_REGISTRY.get(name).preset == NAMES[name]


def test_items_are_those_of_a_stock_data_set(tiny):
    assert (len(tiny.train), len(tiny.query), len(tiny.gallery)) == (256, 32, 200)
    path, pid, camid = tiny.train[0]
    assert os.path.isfile(path) and pid == "synthreid_tiny_1" and camid.startswith("synthreid_tiny_")
    assert {type(value) for item in tiny.query for value in item[1:]} == {int}
    assert {item[2] for item in tiny.gallery} == set(range(6))


def test_junk_is_dropped_and_distractors_stay(tiny):
    pids = [pid for _, pid, _ in tiny.gallery]
    assert -1 not in pids and pids.count(0) == PRESETS["tiny"].distractor_images
    assert not {pid for _, pid, _ in tiny.query} - set(pids)


def test_summaries_are_printed(tiny):
    with logged_by_fastreid() as messages:
        tiny.show_train()
        tiny.show_test()
    assert "| train    | 16      | 256        | 6" in messages[0]
    assert "| gallery  | 17      | 200        | 6" in messages[1]


def test_fastreids_data_set_reads_items_whose_masks_lie_beside_them(root):
    data = DATASET_REGISTRY.get("SynthReIDTiny")(root=str(root))
    loaded = CommDataset(data.train, relabel=True)
    sample = loaded[17]
    assert loaded.num_classes == 16 and sample["targets"] in range(16) and sample["images"].size == (32, 64)
    assert pickle.loads(pickle.dumps(data.train)) == data.train
    assert all(item.fields == {"mask": mask_path(item[0])} for item in data.train + data.query + data.gallery)
    for item in (data.train[17], data.query[3]):
        with Image.open(item.fields["mask"]) as parts:
            assert parts.size == (32, 64) and (np.asarray(parts) > 0).mean() > 0.05


def test_combining_adds_the_labelled_test_images(root):
    data = DATASET_REGISTRY.get("SynthReIDTiny")(root=str(root), combineall=True)
    assert len(data.train) == 256 + 32 + 200 - PRESETS["tiny"].distractor_images
    assert data.get_num_pids(data.train) == 32
    assert all(item.fields == {"mask": mask_path(item[0])} for item in data.train)


def test_fastreids_market1501_reads_a_set_under_its_folder_name(root, tmp_path, tiny):
    (tmp_path / "Market-1501-v15.09.15").symlink_to(root / "synthreid-tiny")
    market = DATASET_REGISTRY.get("Market1501")(root=str(tmp_path))
    ours = [(os.path.basename(path), pid, camid) for path, pid, camid in tiny.query + tiny.gallery]
    theirs = [(os.path.basename(path), pid, camid) for path, pid, camid in market.query + market.gallery]
    assert sorted(ours) == sorted(theirs)
    assert market.get_num_pids(market.train) == 16 and len(market.train) == 256


def _load(root, results):
    data = DATASET_REGISTRY.get("SynthReIDTiny")(root=root)
    results.put(len(data.train))


def test_first_use_renders_once_for_all_processes(tmp_path):
    context = get_context("fork")
    results = context.Queue()
    processes = [context.Process(target=_load, args=(str(tmp_path), results)) for _ in range(2)]
    for process in processes:
        process.start()
    assert [results.get(timeout=120) for _ in processes] == [256, 256]
    for process in processes:
        process.join()
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["synthreid-tiny"]
    with Image.open(next((tmp_path / "synthreid-tiny" / "query").iterdir())) as image:
        assert image.size == (64, 128)


def test_a_set_of_other_settings_is_used_and_said(root, caplog):
    with caplog.at_level(logging.WARNING):
        DATASET_REGISTRY.get("SynthReIDTiny")(root=str(root))
    assert "size [64, 32] instead of [128, 64]" in caplog.text


def test_what_cannot_be_rendered_is_one_message(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RuntimeError, match=r"SynthReIDTiny: cannot write .*file"):
        DATASET_REGISTRY.get("SynthReIDTiny")(root=str(tmp_path / "file"))
