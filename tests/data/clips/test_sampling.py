"""Which frames are in a clip: golden values of a published implementation, and the rules in slow loops."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mdpr_fastreid.data.clips.sampling import SAMPLINGS, draw_from_views

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/clip_frames.json").read_text())
LENGTHS = [1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 59, 100]


def tracklet(length, name="t"):
    return tuple(f"{name}{place}" for place in range(length))


def places(frames):
    return [frame.place for frame in frames]


@pytest.mark.parametrize("sampling", ["chunk", "multiview"])
@pytest.mark.parametrize("length", GOLDEN["evaluation_frames"]["values"])
def test_the_frames_of_evaluation_are_those_of_the_published_code(sampling, length):
    for count, expected in GOLDEN["evaluation_frames"]["values"][length].items():
        assert SAMPLINGS[sampling].represent(int(length), int(count)) == expected


@pytest.mark.parametrize("length", GOLDEN["training_chunks"]["values"])
def test_each_slot_of_a_chunked_clip_has_the_frames_of_the_published_code(length):
    torch.manual_seed(0)
    drawn = [places(SAMPLINGS["chunk"].draw(tracklet(int(length)), 8)) for _ in range(400)]
    assert [sorted(set(slot)) for slot in zip(*drawn, strict=True)] == GOLDEN["training_chunks"]["values"][length]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("count", [1, 3, 8])
def test_a_chunk_has_each_of_its_frames_equally_often(length, count):
    torch.manual_seed(1)
    run = -(-length // count)
    drawn = np.array([places(SAMPLINGS["chunk"].draw(tracklet(length), count)) for _ in range(300)])
    for slot in range(count):
        expected = np.bincount([min(slot * run + place, length - 1) for place in range(run)], minlength=length) / run
        assert np.abs(np.bincount(drawn[:, slot], minlength=length) / 300 - expected).max() < 0.12


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("count", [1, 3, 8])
def test_parts_have_one_length_and_are_drawn_one_frame_of_each(length, count):
    torch.manual_seed(2)
    drawn = [places(SAMPLINGS["parts"].draw(tracklet(length), count)) for _ in range(300)]
    for part in range(count):
        places_of_part = {int(place) for place in np.linspace(part, part + 1, 5000, endpoint=False) * length / count}
        assert {clip[part] for clip in drawn} <= places_of_part
        assert len({clip[part] for clip in drawn}) == len(places_of_part) or length > 50
    assert SAMPLINGS["parts"].represent(length, count) == [
        (2 * part + 1) * length // (2 * count) for part in range(count)
    ]


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("length", [1, 2, 8, 9])
@pytest.mark.parametrize("count", [1, 2, 8])
def test_every_clip_has_its_number_of_frames_in_order_of_time(sampling, length, count):
    own = tracklet(length)
    for clip in (
        places(SAMPLINGS["parts" if sampling == "multiview" else sampling].draw(own, count)),
        SAMPLINGS[sampling].represent(length, count),
    ):
        assert len(clip) == count and clip == sorted(clip) and clip[0] >= 0 and clip[-1] < length


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("lengths", [(1,), (4, 1), (3, 5, 1, 9, 2), (2,) * 11])
def test_a_clip_of_views_takes_tracklets_in_a_random_order_and_a_random_frame_of_each(lengths, count):
    views = tuple(tracklet(length, f"{number}-") for number, length in enumerate(lengths))
    for seed in range(20):
        torch.manual_seed(seed)
        drawn = [frame.tracklet[frame.place] for frame in draw_from_views(views, count)]
        torch.manual_seed(seed)
        order = torch.randperm(len(views))
        expected = []
        for slot in range(count):
            view = views[order[slot % len(views)]]
            expected.append(view[torch.randint(len(view), ())])
        assert drawn == expected


def test_a_clip_of_views_covers_all_tracklets_and_all_their_frames_equally():
    views = (tracklet(1, "a"), tracklet(4, "b"), tracklet(2, "c"))
    torch.manual_seed(0)
    clips = [[frame.tracklet[frame.place] for frame in draw_from_views(views, 6)] for _ in range(500)]
    for clip in clips:
        assert sorted(path[0] for path in clip) == ["a", "a", "b", "b", "c", "c"]
        assert clip[0][0] == clip[3][0] and clip[1][0] == clip[4][0] and clip[2][0] == clip[5][0]
    shown = [path for clip in clips for path in clip]
    for path, share in [("a0", 1 / 3), ("b0", 1 / 12), ("b3", 1 / 12), ("c1", 1 / 6)]:
        assert abs(shown.count(path) / len(shown) - share) < 0.02
    assert len({tuple(path[0] for path in clip[:3]) for clip in clips}) == 6, "every order"


def test_where_views_are_cameras_each_slot_has_a_random_tracklet_under_its_camera():
    views = ((tracklet(1, "a1-"), tracklet(9, "a2-")), (tracklet(3, "b1-"),))
    torch.manual_seed(0)
    clips = [[frame.tracklet[frame.place] for frame in draw_from_views(views, 4)] for _ in range(400)]
    for clip in clips:
        assert [path[0] for path in clip] in (list("abab"), list("baba"))
    shown = [path for clip in clips for path in clip]
    assert abs(shown.count("a1-0") / len(shown) - 1 / 4) < 0.04, "tracklets count alike, however long"
    assert any(clip[0].startswith("a1") and clip[2].startswith("a2") for clip in clips), "a tracklet for each slot"
    assert {path for path in shown if path.startswith("a2")} == set(tracklet(9, "a2-"))


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_draws_are_of_torchs_generator_alone(sampling):
    files = (tracklet(9, "a"), tracklet(20, "b")) if sampling == "multiview" else tracklet(30)
    clips = []
    for numpy_seed in (1, 2):
        torch.manual_seed(5)
        np.random.seed(numpy_seed)
        clips.append([SAMPLINGS[sampling].draw(files, 8) for _ in range(3)])
    assert clips[0] == clips[1] and clips[0][0] != clips[0][1]
