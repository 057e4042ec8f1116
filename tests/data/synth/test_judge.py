"""The judge's figures against other ways to compute them, and against sets that deserve a bad one."""

import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fastreid.evaluation.rank import evaluate_py
from PIL import Image

from mdpr_fastreid.data.synth import RenderError, ensure, mask_path
from mdpr_fastreid.data.synth.judge import (
    Labelled,
    hsv_histogram,
    judge,
    labelled,
    mask_colour_agreement,
    mean_average_precision,
    nearest_neighbour_map,
    queries_and_gallery,
    raw_pixels,
    rendered_again,
)
from mdpr_fastreid.data.synth.plan import GALLERY_FOLDER, QUERY_FOLDER
from mdpr_fastreid.data.synth.presets import PRESETS


@pytest.fixture(scope="module")
def tiny_set(tmp_path_factory):
    return ensure(tmp_path_factory.mktemp("tiny"), PRESETS["tiny"])


def test_mean_average_precision_is_fastreids():
    random = np.random.default_rng(0)
    query = Labelled([], random.integers(0, 5, 12), random.integers(0, 3, 12))
    gallery = Labelled([], random.integers(0, 6, 60), random.integers(0, 3, 60))
    distances = random.random((12, 60))
    _, expected, _ = evaluate_py(distances, query.pids, gallery.pids, query.camids, gallery.camids, 10, False)
    assert mean_average_precision(distances, query, gallery) == pytest.approx(expected, abs=1e-6)


def test_histogram_counts_hues_and_knows_no_place():
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:4] = (255, 0, 0)
    pixels[4:] = (0, 0, 255)
    image, turned = Image.fromarray(pixels), Image.fromarray(pixels[::-1].copy())
    histogram = hsv_histogram(image)
    assert sorted(histogram[histogram > 0]) == pytest.approx([0.5**0.5, 0.5**0.5])
    np.testing.assert_array_equal(histogram, hsv_histogram(turned))
    assert np.abs(hsv_histogram(image, 2) - hsv_histogram(turned, 2)).max() > 0.9


def test_nearest_neighbours_find_copies(tmp_path):
    # Four people of one colour each, seen by two cameras: both descriptors find them all.
    for folder, camera in ((QUERY_FOLDER, 1), (GALLERY_FOLDER, 2)):
        (tmp_path / folder).mkdir()
        for pid, colour in enumerate([(200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 30)], 1):
            Image.new("RGB", (32, 64), colour).save(tmp_path / folder / f"{pid:04d}_c{camera}s1_000000_00.jpg")
    (tmp_path / GALLERY_FOLDER / "-1_c1s1_000000_00.jpg").write_bytes(b"junk is not read")
    assert nearest_neighbour_map(tmp_path, hsv_histogram) == pytest.approx(100)
    assert nearest_neighbour_map(tmp_path, raw_pixels) == pytest.approx(100)


@pytest.mark.parametrize(("describe", "most"), [(hsv_histogram, 25), (raw_pixels, 25)])
def test_colours_and_pixels_alone_do_not_find_the_person(tiny_set, describe, most):
    # With 16 identities chance alone is near 10.
    assert nearest_neighbour_map(tiny_set, describe) < most


def test_masks_agree_with_garments_and_moved_masks_do_not(tiny_set, tmp_path):
    good = mask_colour_agreement(tiny_set)
    assert min(good.values()) > 0.7
    moved = Path(shutil.copytree(tiny_set, tmp_path / "moved"))
    for path in labelled(moved / GALLERY_FOLDER).paths:
        mask = Image.open(mask_path(path))
        shifted = Image.fromarray(np.roll(np.asarray(mask), 26, axis=1))
        shifted.save(mask_path(path))
    bad = mask_colour_agreement(moved)
    assert all(bad[name] < good[name] - 0.2 for name in good)


def test_rendering_again_finds_a_foreign_image(micro_set, tmp_path):
    again = rendered_again(micro_set)
    assert again.same == again.images > 60 and again.per_second > 0
    folder = Path(shutil.copytree(micro_set, tmp_path / "changed"))
    buffer = io.BytesIO()
    Image.new("RGB", (32, 64)).save(buffer, "JPEG")
    next((folder / QUERY_FOLDER).iterdir()).write_bytes(buffer.getvalue())
    changed = rendered_again(folder)
    assert (changed.same, changed.images) == (again.images - 1, again.images)


def test_judging_gives_every_figure(micro_set):
    names = " ".join(name for name, _ in judge(micro_set))
    for word in ("equal the files", "a second on one core", "HSV histogram", "raw pixels", "upper", "lower", "shoes"):
        assert word in names


def test_a_set_of_tracklets_alone_is_judged_by_their_first_frames(tmp_path):
    preset = replace(PRESETS["clips_tiny"], name="walks", train_tracklets=6, test_tracklets=12, cameras=2, frames=2)
    folder = ensure(tmp_path, preset, size=(64, 32))
    query, gallery = queries_and_gallery(folder)
    assert (len(query.paths), len(gallery.paths)) == (12, 0)  # two tracklets an identity, each a query
    preset = replace(preset, name="more", test_tracklets=24)
    folder = ensure(tmp_path, preset, size=(64, 32))
    query, gallery = queries_and_gallery(folder)
    tracks = [[path.name[6:15] for path in part.paths[:2]] for part in (query, gallery)]
    assert tracks == [["T0001F001", "T0002F001"], ["T0003F001", "T0004F001"]]
    assert query.pids.tolist() == gallery.pids.tolist() and query.camids.tolist() == gallery.camids.tolist()
    figures = dict(judge(folder))
    assert figures["images rendered again that equal the files"] == "60 of 60"
    assert all(float(figure) > 0.5 for name, figure in figures.items() if "R^2" in name)


def test_judging_what_is_no_set_says_so(tmp_path):
    with pytest.raises(RenderError, match="no rendered set"):
        judge(tmp_path)


@pytest.mark.parametrize("damage", ["truncate", "version"])
def test_judging_a_damaged_set_names_what_is_wrong(micro_set, tmp_path, damage):
    folder = Path(shutil.copytree(micro_set, tmp_path / "damaged"))
    if damage == "truncate":
        victim = next((folder / QUERY_FOLDER).iterdir())
        victim.write_bytes(victim.read_bytes()[:300])
        with pytest.raises(RenderError, match=f"{victim.name} cannot be read"):
            judge(folder)
    else:
        manifest = (folder / "manifest.json").read_text()
        (folder / "manifest.json").write_text(manifest.replace('"renderer": 1', '"renderer": 0'))
        with pytest.raises(RenderError, match="renderer 0, this is 1"):
            judge(folder)
