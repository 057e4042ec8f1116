"""SynthReID's tracklets in FastReID: registered, rendered on first use, parted into queries and gallery."""

import shutil
from collections import defaultdict
from pathlib import Path

import pytest
from fastreid.data.datasets import DATASET_REGISTRY
from small_runs import logged_by_fastreid, small_config

from mdpr_fastreid.data import build_test_loader, build_train_loader
from mdpr_fastreid.data.custom.dataset import queries_without_match
from mdpr_fastreid.data.synth.identity import TEST
from mdpr_fastreid.data.synth.plan import plan, query_tracklets
from mdpr_fastreid.data.synth.presets import PRESETS
from mdpr_fastreid.data.synth.writer import ensure
from mdpr_fastreid.data.tracklets import frames_of, is_tracklet

NAMES = {"SynthReIDClipsTiny": "clips_tiny", "SynthReIDClips": "clips", "SynthReIDVideo": "video"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data root with the smallest set rendered, small."""
    root = tmp_path_factory.mktemp("root")
    ensure(root, PRESETS["clips_tiny"], size=(32, 16))
    return root


@pytest.mark.parametrize("name", NAMES)
def test_every_set_is_registered_under_its_preset(name):
    assert DATASET_REGISTRY.get(name).preset == NAMES[name]


def test_items_are_tracklets_of_eight_frames(root):
    data = DATASET_REGISTRY.get("SynthReIDClipsTiny")(root=str(root))
    assert (len(data.train), len(data.query), len(data.gallery)) == (36, 18, 18)
    items = data.train + data.query + data.gallery
    assert all(is_tracklet(item) and len(frames_of(item)) == 8 for item in items)
    assert len({path for item in items for path in frames_of(item)}) == 8 * len(items)
    assert {item[1] for item in data.train} == {f"synthreid_clips_tiny_{pid}" for pid in range(1, 7)}
    assert {item[1] for item in data.query} == set(range(7, 13)) and {item[2] for item in data.query} <= set(range(6))


def test_summaries_say_that_items_are_tracklets(root):
    data = DATASET_REGISTRY.get("SynthReIDClipsTiny")(root=str(root))
    with logged_by_fastreid() as messages:
        data.show_train()
        data.show_test()
    assert [message for message in messages if "frames" in message] == [
        "train: 36 items with 288 frames in tracklets",
        "query: 18 items with 144 frames in tracklets",
        "gallery: 18 items with 144 frames in tracklets",
    ]


def test_the_first_tracklet_under_each_of_the_first_three_cameras_is_a_query(root):
    data = DATASET_REGISTRY.get("SynthReIDClipsTiny")(root=str(root))
    tracks = defaultdict(list)
    for item in data.query:
        tracks[item[1]].append(int(Path(item[0]).name[7:11]))
    assert all(numbers == [1, 2, 3] for numbers in tracks.values()) and len(tracks) == 6
    assert queries_without_match(data.query, data.gallery) == []


@pytest.mark.parametrize(
    ("cameras", "queries"), [([2, 2, 0, 1, 4, 2], [0, 2, 3]), ([1, 1, 1], [0]), ([3, 5, 3, 5, 0, 1], [0, 1, 4])]
)
def test_an_identity_is_a_query_once_a_camera_under_three_at_most(cameras, queries):
    walks = [(7, camera) for camera in cameras]
    assert [number for number, chosen in enumerate(query_tracklets(walks)) if chosen] == queries
    mixed = [walk for camera in cameras for walk in ((7, camera), (8, camera))]
    assert sum(query_tracklets(mixed)) == 2 * len(queries)


@pytest.mark.parametrize(("preset", "queries"), [("clips_tiny", 18), ("clips", 144), ("video", 1_908)])
def test_plans_have_the_announced_queries_and_each_has_a_match(preset, queries):
    jobs = [job for job in plan(PRESETS[preset], 0) if job.kind == "tracklet" and job.split == TEST]
    chosen = query_tracklets((job.index, job.cameras[0]) for job in jobs)
    assert sum(chosen) == queries
    gallery = {(job.index, job.cameras[0]) for job, query in zip(jobs, chosen, strict=True) if not query}
    cameras = defaultdict(set)
    for index, camera in gallery:
        cameras[index].add(camera)
    asked = [(job.index, job.cameras[0]) for job, query in zip(jobs, chosen, strict=True) if query]
    assert all(cameras[index] - {camera} for index, camera in asked)


def test_loaders_give_clips(root, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTREID_DATASETS", str(root))
    names = ("DATASETS.NAMES", ("SynthReIDClipsTiny",), "DATASETS.TESTS", ("SynthReIDClipsTiny",))
    cfg = small_config(tmp_path, *names, "INPUT.FIELDS", ("clip",), "SOLVER.IMS_PER_BATCH", 4)
    batch = next(iter(build_train_loader(cfg)))
    assert batch["clips"].shape == (4, 8, 3, 32, 16) and batch["images"].shape == (4, 3, 32, 16)
    loader, queries = build_test_loader(cfg, "SynthReIDClipsTiny")
    assert (queries, len(loader.dataset)) == (18, 36)
    assert next(iter(loader))["clips"].shape[1:] == (8, 3, 32, 16)


def test_a_set_without_its_tracklets_says_what_to_do(root, tmp_path):
    folder = tmp_path / "synthreid-clips_tiny"
    shutil.copytree(root / "synthreid-clips_tiny", folder)
    shutil.rmtree(folder / "tracklets/bbox_test")
    message = rf"SynthReIDClipsTiny: .*bbox_test/.*\.jpg is missing; delete {folder} and render again"
    with pytest.raises(RuntimeError, match=message):
        DATASET_REGISTRY.get("SynthReIDClipsTiny")(root=str(tmp_path))
