"""The field clip, from a data set's tracklets to a batch."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from fastreid.utils import comm
from PIL import Image
from small_runs import logged_by_fastreid, small_config
from support.tracklets import frame, levels, tracklets

from mdpr_fastreid.config import check_config
from mdpr_fastreid.data import Item, build_test_loader, build_train_loader, pipeline, training_set
from mdpr_fastreid.data.fields import build_fields
from mdpr_fastreid.data.transforms import build_transforms
from mdpr_fastreid.errors import SettingsError, UsageError


def config(tmp_path, *options):
    own = ["INPUT.FIELDS", ("clip",), "INPUT.CLIP.FRAMES", 3, "INPUT.CLIP.TEST_FRAMES", 3, "INPUT.FLIP.ENABLED", False]
    return small_config(tmp_path, *own, "SOLVER.IMS_PER_BATCH", 8, *options)


def loader_of_test(cfg, items):
    dataset = pipeline.FieldDataset(items, build_transforms(cfg, is_train=False), relabel=False)
    return build_test_loader(cfg, test_set=dataset, num_query=1)[0]


def shown_in(batch):
    """The number of each tracklet in a batch, and the levels of its clip."""
    numbers = [int(Path(path).parent.name) for path in batch["img_paths"]]
    return list(zip(numbers, levels(batch["clips"]), strict=True))


@pytest.mark.parametrize(("count", "middles"), [(6, [1, 3, 5]), (3, [0, 1, 2]), (2, [0, 1, 1]), (1, [0, 0, 0])])
def test_by_default_a_clip_has_a_frame_of_each_part_of_a_tracklet(tmp_path, count, middles):
    cfg, (item,) = config(tmp_path), tracklets(tmp_path, [count])
    evaluated = build_fields(cfg, is_train=False)[1].read(item.fields["clip"])
    assert [picture.getpixel((0, 0))[0] for picture in evaluated] == middles
    field, drawn = build_fields(cfg, is_train=True)[1], set()
    for seed in range(30):
        torch.manual_seed(seed)
        drawn.add(tuple(picture.getpixel((0, 0))[0] for picture in field.read(item.fields["clip"])))
    parts = [{int(place) for place in np.linspace(part, part + 1, 50, endpoint=False) * count / 3} for part in range(3)]
    assert [{places[part] for places in drawn} for part in range(3)] == parts


@pytest.mark.parametrize("workers", [0, 1])
def test_clips_come_with_their_images(tmp_path, workers):
    cfg = config(tmp_path, "INPUT.CLIP.FRAMES", 4, "DATALOADER.NUM_WORKERS", workers)
    items = tracklets(tmp_path, [4] * 8)
    batch = next(iter(build_train_loader(cfg, train_set=training_set(cfg, items))))
    assert batch["clips"].shape == (8, 4, 3, 32, 16) and batch["clips"].dtype == torch.float32
    shown = shown_in(batch)
    assert all(clip == list(range(4 * number, 4 * number + 4)) for number, clip in shown)
    assert levels(batch["images"]) == [4 * number for number, _ in shown]
    assert torch.equal(batch["clips"], batch["clips"][..., :1, :1, :1].expand_as(batch["clips"]))


@pytest.mark.parametrize("views", ["tracklet", "camera"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_multiview_clip_shows_the_whole_identity(tmp_path, views, workers):
    options = ["INPUT.CLIP.SAMPLING", "multiview", "INPUT.CLIP.VIEWS", views, "INPUT.CLIP.FRAMES", 4]
    cfg = config(tmp_path, *options, "DATALOADER.NUM_WORKERS", workers)
    lengths = [3, 1, 2, 4, 5, 1, 2, 2]  # even ones are of pid0; items 0, 1, 4, 5 are under cam0
    items = tracklets(tmp_path, lengths)
    of_level = np.repeat(np.arange(8), lengths)
    batch = next(iter(build_train_loader(cfg, train_set=training_set(cfg, items))))
    shown = of_level[np.array(levels(batch["clips"]))]
    for path, clip in zip(batch["img_paths"], shown, strict=True):
        assert (clip % 2 == int(Path(path).parent.name) % 2).all()
        if views == "tracklet":
            assert len(set(clip)) == 4
        else:
            cameras = (clip // 2 % 2).tolist()
            assert cameras in ([0, 1, 0, 1], [1, 0, 1, 0])
    evaluated = next(iter(loader_of_test(cfg, items)))
    assert levels(evaluated["clips"])[3] == [6, 8, 9], "evaluation keeps to the tracklet"


@pytest.mark.parametrize("sampling", ["parts", "chunk", "multiview"])
def test_all_frames_of_tracklets_of_any_length(tmp_path, sampling):
    options = ["INPUT.CLIP.TEST_FRAMES", 0, "TEST.IMS_PER_BATCH", 1, "INPUT.CLIP.SAMPLING", sampling]
    cfg = config(tmp_path, *options)
    check_config(cfg, ("evaluation",))
    batches = list(loader_of_test(cfg, tracklets(tmp_path, [1, 5, 13])))
    assert [levels(batch["clips"]) for batch in batches] == [[[0]], [list(range(1, 6))], [list(range(6, 19))]]


def test_all_frames_in_a_batch_a_process_of_several_are_refused_with_the_way_out(tmp_path, monkeypatch):
    cfg = config(tmp_path, "INPUT.CLIP.TEST_FRAMES", 0, "TEST.IMS_PER_BATCH", 4)
    line = "INPUT.CLIP.TEST_FRAMES 0 .*set TEST.IMS_PER_BATCH 4 to 1, .* or INPUT.CLIP.TEST_FRAMES to a number"
    with pytest.raises(SettingsError, match=line):
        build_transforms(cfg, is_train=False)
    with pytest.raises(SettingsError, match=line):
        check_config(cfg, ("evaluation",))
    build_transforms(cfg, is_train=True)
    check_config(cfg, ("training",))
    monkeypatch.setattr(comm, "get_world_size", lambda: 4)
    build_transforms(cfg, is_train=False)
    check_config(cfg, ("evaluation",))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("consistent", [True, False])
def test_batches_without_images_read_none(tmp_path, workers, consistent):
    options = ["INPUT.CLIP.WITH_IMAGE", False, "INPUT.CLIP.CONSISTENT", consistent, "DATALOADER.NUM_WORKERS", workers]
    cfg = config(tmp_path, *options, "INPUT.REA.ENABLED", True, "INPUT.RPT.ENABLED", True)
    items = [Item("none.png", *item[1:], item.fields) for item in tracklets(tmp_path, [3] * 8)]
    batch = next(iter(build_train_loader(cfg, train_set=training_set(cfg, items))))
    assert batch.keys() == {"clips", "targets", "camids", "img_paths"}
    assert batch["clips"].shape == (8, 3, 3, 32, 16) and batch["clips"].dtype == torch.float32
    items[0] = Item(items[1].fields["clip"][0], *items[0][1:], items[0].fields)
    assert next(iter(loader_of_test(cfg, items[:1])))["images"].shape == (1, 3, 32, 16)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["INPUT.CLIP.WITH_IMAGE", False, "INPUT.FIELDS", ("clip", "mask")], "WITH_IMAGE False leaves out .* mask"),
        (["DATALOADER.CACHE", "kept"], "DATALOADER.CACHE keeps resized images, not the frames of clips"),
    ],
)
def test_what_contradicts_clips_in_training_is_refused(tmp_path, options, line):
    cfg = config(tmp_path, *options)
    with pytest.raises(SettingsError, match=line):
        check_config(cfg, ("training",))
    with pytest.raises(SettingsError, match=line):
        build_transforms(cfg, is_train=True)
    check_config(cfg, ("evaluation",))
    build_transforms(cfg, is_train=False)


def test_the_images_of_a_set_without_tracklets_can_be_some(tmp_path):
    cfg = config(tmp_path, "INPUT.FIELDS", ("clip",))
    with pytest.raises(UsageError, match="gives no tracklet .*INPUT.CLIP.FROM_IMAGES True"):
        build_train_loader(cfg)
    cfg.INPUT.CLIP.FROM_IMAGES, cfg.INPUT.CLIP.SAMPLING = True, "multiview"
    loader = build_train_loader(cfg)
    assert len(loader.dataset) == len(build_train_loader(small_config(tmp_path)).dataset)
    of_identity = {}
    for path, pid, *_ in loader.dataset.img_items:
        of_identity.setdefault(pid, set()).add(path)
    for item in loader.dataset.img_items:
        assert {path for tracklet in item.fields["clip"] for path in tracklet} == of_identity[item[1]]
    assert next(iter(loader))["clips"].shape == (8, 3, 3, 32, 16)
    cfg.TEST.IMS_PER_BATCH, cfg.INPUT.CLIP.TEST_FRAMES = 1, 0
    batch = next(iter(build_test_loader(cfg, "SynthReIDTiny")[0]))
    assert torch.equal(batch["clips"][:, 0], batch["images"]) and batch["clips"].shape[1] == 1


def test_frames_of_other_sizes_need_resizing(tmp_path):
    frames = tuple(frame(tmp_path / f"{size}.png", 1, (size, 20)) for size in (16, 18))
    items = [Item(frames[0], 0, 0, {"clip": frames})]
    for consistent in (True, False):
        for with_image in (True, False):
            choice = ["INPUT.CLIP.CONSISTENT", consistent, "INPUT.CLIP.WITH_IMAGE", with_image]
            cfg = config(tmp_path, *choice, "INPUT.SIZE_TRAIN", [0])
            torch.manual_seed(0)
            with pytest.raises(UsageError, match=r"16\.png: clips of \[20, 1.\] .*INPUT.SIZE_TRAIN"):
                training_set(cfg, items)[0]


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_frame_that_cannot_be_read_is_named(tmp_path, damage):
    items = tracklets(tmp_path, [2] * 8)
    bad = Path(items[5].fields["clip"][1])
    if damage == "missing":
        bad.unlink()
    else:
        bad.write_bytes(bad.read_bytes()[:40])
    cfg = config(tmp_path)
    with pytest.raises(UsageError, match=rf"{bad}: cannot be read .*DATALOADER.SKIP_DAMAGED") as caught:
        training_set(cfg, items)[5]
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match=rf"{bad}: cannot be read .* an evaluation needs every image"):
        list(loader_of_test(cfg, items))


@pytest.mark.parametrize("workers", [0, 2])
def test_another_frame_of_the_tracklet_takes_the_place_of_a_damaged_one(tmp_path, workers):
    options = ["DATALOADER.SKIP_DAMAGED", True, "DATALOADER.NUM_WORKERS", workers, "SEED", 1]
    cfg, items = config(tmp_path, *options), tracklets(tmp_path, [4] + [3] * 7)
    for number, place in ((0, 2), (0, 3), (1, 1), (2, 0)):
        Path(items[number].fields["clip"][place]).unlink(missing_ok=True)
    loader = build_train_loader(cfg, train_set=training_set(cfg, items))
    loader.batch_sampler.sampler.reseed(0)
    torch.manual_seed(0)
    with logged_by_fastreid() as messages:
        clips = [pair for batch, _ in zip(iter(loader), range(24), strict=False) for pair in shown_in(batch)]
    assert {number for number, _ in clips} == set(range(8)) - {2}, "whose image is damaged"
    assert {tuple(clip) for number, clip in clips if number == 0} == {(0, 1, 1), (1, 1, 1)}
    assert {tuple(clip) for number, clip in clips if number == 1} == {(4, 6, 6)}
    if not workers:
        assert sum("01/01.png" in message for message in messages) == 1, "one warning a file"
    report = loader.dataset.damage_report()
    assert report.startswith("3 of 25 frames could not be read, others took their places; 1 of 8 training images")
    assert report.endswith("`mdpr data SynthReIDTiny` lists them")


@pytest.mark.parametrize("sampling", ["parts", "chunk", "multiview"])
def test_a_tracklet_without_a_readable_frame_is_left_for_another_of_its_identity(tmp_path, sampling):
    options = ["DATALOADER.SKIP_DAMAGED", True, "INPUT.CLIP.SAMPLING", sampling, "INPUT.CLIP.WITH_IMAGE", False]
    items = tracklets(tmp_path, [2, 2, 2])  # the first and the last are of one identity
    dataset = training_set(config(tmp_path, *options), items)
    for path in items[0].fields["clip"]:
        Path(path).unlink()
    for _ in range(10):
        assert set(levels(dataset[0]["clips"])) <= {4, 5}
    for path in items[2].fields["clip"]:
        Path(path).unlink()
    for _ in range(2):
        with pytest.raises(UsageError, match="every image of identity pid0 is damaged"):
            dataset[0]


def test_what_was_found_damaged_before_changes_no_draw(tmp_path):
    options = ["DATALOADER.SKIP_DAMAGED", True, "INPUT.CLIP.WITH_IMAGE", False, "INPUT.CLIP.FRAMES", 2]
    items = tracklets(tmp_path, [5, 5, 9, 9])
    dataset = training_set(config(tmp_path, *options), items)
    for path in items[0].fields["clip"]:
        Path(path).unlink()
    drawn = []
    for _ in range(2):  # discovered in the first round, known in the second
        torch.manual_seed(3)
        drawn.append([levels(dataset[index]["clips"]) for index in (0, 1, 2, 3) * 3])
    assert drawn[0] == drawn[1]


def test_a_file_that_is_in_a_clip_twice_is_read_once(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(
        "mdpr_fastreid.data.clips.field.read_image", lambda path: read.append(path) or Image.new("RGB", (16, 32))
    )
    (item,) = tracklets(tmp_path, [2])
    clip = build_fields(config(tmp_path, "INPUT.CLIP.TEST_FRAMES", 8), is_train=False)[1].read(item.fields["clip"])
    assert len(clip) == 8 and sorted(read) == sorted(item.fields["clip"])


def test_spawned_workers_get_tracklets_of_an_identity_once(tmp_path):
    cfg = config(tmp_path, "INPUT.CLIP.SAMPLING", "multiview", "DATALOADER.SKIP_DAMAGED", True)
    dataset = training_set(cfg, tracklets(tmp_path, [2] * 8))
    sent = pickle.loads(pickle.dumps(list(dataset.img_items)))
    assert len({id(item.fields["clip"]) for item in sent}) == 2 and sent == dataset.img_items


def test_made_up_clips_are_as_long_as_real_ones(tmp_path):
    cfg = config(tmp_path, "INPUT.CLIP.TEST_FRAMES", 5)
    generator = torch.Generator().manual_seed(0)
    assert build_fields(cfg, True)[1].noise((4, 2), generator).shape == (3, 3, 4, 2)
    assert build_fields(cfg, False)[1].noise((4, 2), generator).shape == (5, 3, 4, 2)
