"""part_distances against BPBreID's values and its formula in loops; captions of what was compared."""

import math

import numpy as np
import pytest
import torch
from bpbreid_values import GOLDEN, u, values
from drop.evaluation import compared_parts, part_distances

from mdpr_fastreid.evaluation import squared_euclidean_distances

DISTANCES = GOLDEN["test_distance"]
QUERY, GALLERY = (torch.nn.functional.normalize(u(seed, n, 3, 5), dim=2) for seed, n in ((20, 4), (21, 6)))
VISIBILITY = {
    "none": (None, None),
    "binary": tuple(values(DISTANCES["inputs"][f"{side}_visibility_binary"]) for side in ("query", "gallery")),
    "continuous": (u(22, 4, 3) + 0.5, u(23, 6, 3) + 0.5),
}
NAMES = ("foreground", "head", "torso", "legs", "shoes", "bag")


def images(count, seed, parts=4, dim=6, dtype=torch.float64):
    """Embeddings of any length, one of zeros, and visibilities of which a third is 0."""
    rng = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(count, parts, dim, generator=rng, dtype=torch.float64) * 3
    embeddings[0, 1] = 0
    visibility = torch.rand(count, parts, generator=rng, dtype=torch.float64)
    visibility *= torch.rand(count, parts, generator=rng) > 0.33
    return embeddings.to(dtype), visibility.to(dtype)


def slow(query, gallery, query_visibility, gallery_visibility):
    distances = torch.zeros(len(query), len(gallery), dtype=torch.float64)
    query, gallery = (torch.nn.functional.normalize(x.double(), dim=2) for x in (query, gallery))
    for i, (one, v) in enumerate(zip(query, query_visibility.tolist(), strict=True)):
        for j, (other, w) in enumerate(zip(gallery, gallery_visibility.tolist(), strict=True)):
            weights = [math.sqrt(a * b) for a, b in zip(v, w, strict=True)]
            of_parts = [(a - b).norm().item() for a, b in zip(one, other, strict=True)]
            total = sum(weight * distance for weight, distance in zip(weights, of_parts, strict=True))
            distances[i, j] = total / sum(weights) if sum(weights) else 3.0
    return distances


@pytest.mark.parametrize("kind", VISIBILITY)
def test_it_is_bpbreids_distance(kind):
    distances = part_distances(QUERY, GALLERY, *VISIBILITY[kind])
    expected = values(DISTANCES["results"][kind])
    nothing = torch.zeros_like(expected, dtype=torch.bool)
    if kind == "binary":
        nothing = (VISIBILITY[kind][0] @ VISIBILITY[kind][1].T) == 0
        assert nothing.any()
        assert torch.equal(distances.argsort(dim=1, stable=True), expected.argsort(dim=1, stable=True))
    assert distances.dtype == torch.float64
    torch.testing.assert_close(distances[~nothing], expected[~nothing], atol=1e-9, rtol=0)
    assert (distances[nothing] == 3).all()


def test_one_part_is_bpbreids_distance_of_that_part():
    for part, expected in enumerate(DISTANCES["per_part_euclidean"]):
        distances = part_distances(QUERY[:, part : part + 1], GALLERY[:, part : part + 1])
        torch.testing.assert_close(distances, values(expected), atol=1e-9, rtol=0)


@pytest.mark.parametrize("block", [1, 2, 3, 7, 1024])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_it_is_the_formula_whatever_the_block(block, dtype, tolerance):
    query, gallery = images(7, 0, dtype=dtype), images(11, 1, dtype=dtype)
    distances = part_distances(query[0], gallery[0], query[1], gallery[1], block=block)
    assert distances.dtype == dtype
    expected = slow(query[0], gallery[0], query[1], gallery[1]).to(dtype)
    torch.testing.assert_close(distances, expected, atol=tolerance, rtol=0)
    assert (distances == 3).any()


def test_arrays_and_tensors_of_any_type_give_the_same():
    query, gallery = images(7, 0, dtype=torch.float32), images(11, 1, dtype=torch.float32)
    expected = part_distances(query[0], gallery[0], query[1] > 0, gallery[1] > 0)
    arrays = part_distances(*(x.numpy() for x in (query[0], gallery[0], query[1] > 0, gallery[1] > 0)))
    assert isinstance(arrays, np.ndarray) and arrays.dtype == np.float32
    assert np.array_equal(arrays, expected.numpy())
    mixed = part_distances(query[0].double(), gallery[0].numpy(), (query[1] > 0).int(), (gallery[1] > 0).float())
    assert torch.equal(mixed, expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(part_distances(query[0], gallery[0], query[1] > 0, gallery[1] > 0), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_it_is_symmetric_and_zero_between_equal_images(dtype):
    embeddings, visibility = images(9, 2, dtype=dtype)
    visibility[:, 0] = 1
    distances = part_distances(embeddings, embeddings, visibility, visibility)
    torch.testing.assert_close(distances, distances.T, atol=1e-6, rtol=0)
    assert (distances.diag() == 0).all()


@pytest.mark.parametrize(("dtype", "apart"), [(torch.float64, 1e-7), (torch.float32, 1e-3)])
def test_near_duplicates_are_as_far_apart_as_their_differences_say(dtype, apart):
    # So many that the product of some is rounded to a distance of exactly 0
    query = torch.nn.functional.normalize(torch.randn(400, 3, 64, dtype=dtype), dim=2)
    gallery = torch.nn.functional.normalize(query + apart / 8 * torch.randn(400, 3, 64, dtype=dtype), dim=2)
    expected = (query.double() - gallery.double()).norm(dim=2).mean(dim=1)
    torch.testing.assert_close(part_distances(query, gallery).diag().double(), expected, atol=0, rtol=1e-3)


def test_one_visible_part_ranks_as_the_euclidean_distance_of_normalised_features():
    query, gallery = torch.randn(5, 1, 8), torch.randn(20, 1, 8)
    units = (torch.nn.functional.normalize(x[:, 0]) for x in (query, gallery))
    expected = squared_euclidean_distances(*units).sqrt()
    torch.testing.assert_close(part_distances(query, gallery), expected, atol=1e-5, rtol=1e-5)


def test_a_part_that_nobody_shows_changes_nothing():
    query, gallery = images(7, 0), images(11, 1)
    expected = part_distances(query[0], gallery[0], query[1], gallery[1])
    more = [torch.cat([x, torch.randn(len(x), 1, 6)], dim=1) for x in (query[0], gallery[0])]
    visible = [torch.cat([x, torch.zeros(len(x), 1)], dim=1) for x in (query[1], gallery[1])]
    torch.testing.assert_close(part_distances(*more, *visible), expected, atol=1e-14, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (torch.ones(2, 3), torch.ones(2, 3, 4)),
            r"query embeddings must be \[images, parts, length\], .*got \[2, 3\]",
        ),
        ((torch.ones(2, 3, 4), torch.ones(0, 3, 4)), r"gallery embeddings must be .*got \[0, 3, 4\]"),
        ((torch.ones(2, 3, 4), torch.ones(2, 5, 4)), r"embeddings \[3, 4\], gallery images \[5, 4\]"),
        (
            (torch.ones(2, 3, 4), torch.ones(2, 3, 4), torch.ones(2, 2)),
            r"query visibilities must be \[2, 3\], .*\[2, 2\]",
        ),
        ((torch.ones(2, 3, 4), torch.ones(2, 3, 4), None, -torch.ones(2, 3)), "gallery visibilities must be 0 or more"),
        ((torch.ones(2, 3, 4), torch.full((2, 3, 4), torch.nan)), "gallery embeddings have NaN, .*first in image 0"),
    ],
)
def test_what_cannot_be_compared_is_an_error_of_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        part_distances(*arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("query", "gallery", "caption"),
    [
        ([1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], "all parts"),
        ([1, 1, 1, 1, 0, 1], [1, 1, 1, 1, 1, 1], "all but shoes"),
        ([1, 1, 1, 1, 0, 1], [1, 1, 1, 1, 1, 0], "all but shoes, bag"),
        ([1, 1, 1, 0, 0, 1], [1, 1, 1, 1, 1, 0], "foreground, head, torso"),
        ([1, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0], "foreground"),
        ([0, 0.5, 0.2, 0, 0, 0], [1, 0.1, 0, 1, 1, 1], "head"),
        ([0, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 1], "no common part"),
    ],
)
def test_a_caption_names_what_was_compared(query, gallery, caption):
    assert compared_parts(torch.tensor([query]), np.array([gallery]), NAMES) == [caption]


def test_captions_come_pair_by_pair_and_want_a_name_for_each_embedding():
    visibility = torch.eye(3)
    assert compared_parts(visibility, visibility.flip(0), ("a", "b", "c")) == ["no common part", "b", "no common part"]
    with pytest.raises(ValueError, match=r"must be \[pairs, 2\] for as many names, got \[3, 3\]"):
        compared_parts(visibility, visibility, ("a", "b"))
