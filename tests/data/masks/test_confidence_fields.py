"""PifPaf confidence fields against published targets, the rule in loops, and files of every wrong kind."""

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from support.mask_files import confidence_fields, ruled, write_fields, write_labels

from mdpr_fastreid.data.masks import PART_GROUPS
from mdpr_fastreid.data.masks.confidence_fields import read_fields
from mdpr_fastreid.data.reading import DamagedImageError
from mdpr_fastreid.errors import UsageError

GOLDEN = json.loads((Path(__file__).parents[1] / "golden/pifpaf_targets.json").read_text())
EIGHT, FIVE = PART_GROUPS.get("pifpaf_eight"), PART_GROUPS.get("pifpaf_five_v")
GROUPINGS = {"eight": EIGHT, "five_v": FIVE}
SIZE = tuple(GOLDEN["image"])


def in_loops(groups, fields, image_size, map_size):
    """The rule, cell by cell: the probabilities ``[K + 1]`` of each cell of the map, in lists."""
    height, width = fields.shape[1:]

    def softmax(row, column):
        parts = [min(1, max(0, max(fields[c, row, column] for c in part))) for part in groups.groups.values()]
        powers = [math.exp(15 * value) for value in (float(all(part < 0.5 for part in parts)), *parts)]
        return [power / sum(powers) for power in powers]

    coarse_height, coarse_width = image_size[0] // 8, image_size[1] // 8
    rows = [math.floor(i * height / coarse_height) for i in range(coarse_height)]
    columns = [math.floor(j * width / coarse_width) for j in range(coarse_width)]
    coarse = [[softmax(row, column) for column in columns] for row in rows]

    def between(i, new, old):
        place = i * (old - 1) / (new - 1) if new > 1 else 0
        first = min(int(place), old - 1)
        return first, min(first + 1, old - 1), place - first

    result = []
    for i in range(map_size[0]):
        top, bottom, down = between(i, map_size[0], coarse_height)
        result.append([])
        for j in range(map_size[1]):
            left, right, along = between(j, map_size[1], coarse_width)
            corners = coarse[top][left], coarse[top][right], coarse[bottom][left], coarse[bottom][right]
            weights = (1 - down) * (1 - along), (1 - down) * along, down * (1 - along), down * along
            result[-1].append(
                [sum(w * corner[k] for w, corner in zip(weights, corners, strict=True)) for k in range(len(corners[0]))]
            )
    return result


def test_the_rule_of_the_inputs_is_that_of_the_file():
    assert ruled(1, 4).tolist() == pytest.approx(GOLDEN["check"]["u(1, 4)"], abs=1e-14)


@pytest.mark.parametrize("name", GROUPINGS)
def test_grouped_probabilities_are_the_published_ones(name):
    sums = GROUPINGS[name].probabilities(confidence_fields(40)).sum(axis=(1, 2))
    assert sums == pytest.approx(GOLDEN["targets"][f"{name}/grouped_sum"], rel=1e-12)


@pytest.mark.parametrize("cells", [(16, 8), (64, 32)])
@pytest.mark.parametrize("name", GROUPINGS)
def test_label_maps_are_the_published_targets(name, cells):
    groups, key = GROUPINGS[name], f"{name}/{cells[0]}x{cells[1]}"
    labels = groups.labels(confidence_fields(40), SIZE, cells)
    two_best = np.sort(np.array(in_loops(groups, confidence_fields(40), SIZE, cells)), axis=2)[:, :, -2:]
    tied = np.isclose(two_best[..., 0], two_best[..., 1], rtol=0, atol=1e-9)
    assert labels.shape == cells and tied.sum() == GOLDEN["targets"][f"{key}/ties"]
    histogram = np.bincount(labels[~tied], minlength=len(groups.parts) + 1)
    assert histogram.tolist() == GOLDEN["targets"][f"{key}/histogram"]
    rows = GOLDEN["targets"].get(f"{key}/labels")
    if rows:
        assert np.where(tied, "?", labels.astype(str)).tolist() == [list(row) for row in rows]


@pytest.mark.parametrize(("fields", "image"), [((17, 9), (256, 128)), ((30, 15), (128, 64)), ((9, 5), (100, 52))])
def test_label_maps_follow_the_rule_in_loops(fields, image):
    cells = image[0] // 4, image[1] // 4
    given = confidence_fields(5, *fields)
    for groups in GROUPINGS.values():
        expected = np.array(in_loops(groups, given, image, cells))
        labels = groups.labels(given, image, cells)
        chosen = np.take_along_axis(expected, labels[..., None].astype(int), axis=2)[..., 0]
        assert np.allclose(chosen, expected.max(axis=2), rtol=0, atol=1e-9)


def test_of_tied_parts_the_first_counts():
    fields = np.zeros((36, 4, 2))
    fields[21] = 1  # the hips: of the torso, class 4, and of the left leg, class 5
    assert (EIGHT.labels(fields, (64, 32), (16, 8)) == 4).all()


def test_numbers_beyond_0_and_1_are_clamped():
    fields = confidence_fields(3)
    wild = np.where(fields > 0.7, fields + 5, np.where(fields < 0.1, fields - 5, fields))
    clamped = wild.clip(0, 1)
    assert np.array_equal(EIGHT.probabilities(wild), EIGHT.probabilities(clamped))


def majority(mask, side=4):
    """The commonest class of each block, the lowest of several."""
    height, width = mask.shape[0] // side, mask.shape[1] // side
    blocks = mask.reshape(height, side, width, side).swapaxes(1, 2).reshape(height, width, -1)
    return np.array([[np.bincount(block).argmax() for block in row] for row in blocks])


@pytest.mark.parametrize("groups", GROUPINGS.values(), ids=GROUPINGS)
def test_the_majority_of_4_by_4_pixels_is_the_label_map(tmp_path, groups):
    path = write_fields(tmp_path / "1.npy", 7)
    mask = groups.read(str(path), (256, 128))
    assert mask.shape == (256, 128) and mask.dtype == np.uint8
    expected = groups.labels(confidence_fields(7).astype(np.float32), (256, 128), (64, 32))
    assert np.array_equal(majority(mask), expected)


def archive():
    np.savez(buffer := io.BytesIO(), a=np.zeros(3))
    return buffer.getvalue()


WRONG = {
    "empty": (lambda path: path.write_bytes(b""), "cannot be read as confidence fields"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:500]), "cannot be read as confidence fields"),
    "text": (lambda path: path.write_text("a letter"), "cannot be read as confidence fields"),
    "missing": (lambda path: path.unlink(), "No such file"),
    "pickled": (lambda path: np.save(path, np.array([{}], object), allow_pickle=True), "cannot be read"),
    "archive": (lambda path: path.write_bytes(archive()), r"it holds object \[\]"),
    "half an archive": (lambda path: path.write_bytes(b"PK\3\4" + bytes(60)), "cannot be read"),
    "other channels": (
        lambda path: np.save(path, np.zeros((17, 5, 5))),
        r"it holds float64 \[17, 5, 5\]",
    ),
    "no cells": (lambda path: np.save(path, np.zeros((36, 0, 5))), r"\[36, 0, 5\]"),
    "one dimension less": (lambda path: np.save(path, np.zeros((36, 5))), r"\[36, 5\]"),
    "whole numbers": (lambda path: np.save(path, np.zeros((36, 5, 5), np.uint8)), "uint8"),
    "NaN": (lambda path: np.save(path, np.full((36, 5, 5), np.nan)), "NaN or infinity"),
    "infinity": (lambda path: np.save(path, np.full((36, 5, 5), np.inf)), "NaN or infinity"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_file_that_cannot_be_used_is_one_line_that_names_it(tmp_path, kind):
    path = write_fields(tmp_path / "1.npy")
    spoil, message = WRONG[kind]
    spoil(path)
    with pytest.raises(DamagedImageError, match=rf"1\.npy: .*{message}") as caught:
        read_fields(str(path))
    assert "\n" not in str(caught.value)


def test_whatever_is_damaged_in_a_header_is_one_line(tmp_path):
    """NumPy raises ``TokenError``, ``MemoryError`` and others for some of these."""
    whole = write_fields(tmp_path / "1.npy").read_bytes()
    random, messages = np.random.default_rng(0), []
    for _ in range(300):
        content = bytearray(whole)
        content[int(random.integers(0, 128))] = int(random.integers(0, 256))
        (tmp_path / "1.npy").write_bytes(content)
        try:
            read_fields(str(tmp_path / "1.npy"))
        except DamagedImageError as error:
            messages.append(str(error))
    assert len(messages) > 30 and all("1.npy: " in message and "\n" not in message for message in messages)


def test_a_label_image_is_another_kind(tmp_path):
    path = write_labels(tmp_path / "1.png", np.zeros((4, 4)))
    with pytest.raises(UsageError, match=r"1\.png: part grouping pifpaf_eight .* reads confidence fields"):
        EIGHT.read(str(path), (256, 128))


@pytest.mark.parametrize("size", [(256,), (0,), (4, 128)])
def test_a_size_that_gives_no_map_is_one_line(tmp_path, size):
    with pytest.raises(UsageError, match=r"INPUT\.SIZE_TRAIN and SIZE_TEST are to be two numbers"):
        EIGHT.read(str(write_fields(tmp_path / "1.npy")), size)
