"""Re-ranking by any distance equals re-ranking of its three matrices, and never has these."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.ranked_features import manhattan

from mdpr_fastreid.bench.rerank import clustered_features
from mdpr_fastreid.evaluation import k_reciprocal, pairwise, rerank, rerank_by, rerank_distances
from mdpr_fastreid.evaluation.outputs import count, rows
from mdpr_fastreid.evaluation.pairwise import FoundPairs, PairwiseDistances


def _euclidean(query, gallery):
    return torch.cdist(query, gallery, compute_mode="donot_use_mm_for_euclid_dist")


def _of_visible_parts(query, gallery):
    """Mean distance over the parts that are visible in both images; 3 where there is none."""
    shared = query["visible"][:, None] & gallery["visible"][None]
    distances = (query["parts"][:, None] - gallery["parts"][None]).norm(dim=3)
    mean = (distances * shared).sum(dim=2) / shared.sum(dim=2).clamp_min(1)
    return torch.where(shared.any(dim=2), mean, 3.0)


def _one_sided(query, gallery):
    """A distance whose two sides are not treated alike."""
    return manhattan(query, gallery) + 0.3 * query[:, :1].abs() + 0.1 * gallery[None, :, 1]


def _features(total, width, seed=0):
    return torch.from_numpy(clustered_features(total, width, seed))


def _parts(total, seed=0):
    parts = torch.stack([_features(total, 8, seed) for _ in range(3)], dim=1)
    parts += 0.3 * torch.randn(parts.shape, generator=torch.Generator().manual_seed(seed))
    visible = torch.rand(total, 3, generator=torch.Generator().manual_seed(seed)) < 0.6
    return {"parts": parts, "visible": visible}


def _split(outputs, queries):
    return rows(outputs, slice(queries)), rows(outputs, slice(queries, None))


def _expected(distance, query, gallery, *options):
    return rerank_distances(distance(query, gallery), distance(query, query), distance(gallery, gallery), *options)


@pytest.fixture(params=["whole", "blocks", "rows"])
def block_size(request, monkeypatch):
    if request.param != "whole":
        monkeypatch.setattr(pairwise, "_BLOCK_ELEMENTS", 700 if request.param == "blocks" else 1)
        monkeypatch.setattr(k_reciprocal, "_BLOCK_ELEMENTS", {"cpu": 3000, "cuda": 3000})
        monkeypatch.setattr(pairwise, "_IMAGES_AT_A_TIME", 3 if request.param == "blocks" else 1)


@pytest.mark.parametrize(
    ("k1", "k2", "lambda_value"), [(20, 6, 0.3), (7, 3, 0.0), (1, 1, 1.0), (3, 5, 0.5), (200, 9, 0.2)]
)
@pytest.mark.parametrize("distance", [manhattan, _euclidean, _one_sided, _of_visible_parts])
def test_it_equals_re_ranking_of_the_three_matrices(block_size, distance, k1, k2, lambda_value):
    outputs = _parts(130) if distance is _of_visible_parts else _features(130, 16)
    query, gallery = _split(outputs, 30)
    ours = rerank_by(distance, query, gallery, k1, k2, lambda_value)
    assert ours.shape == (30, 100) and ours.dtype == torch.float32
    torch.testing.assert_close(ours, _expected(distance, query, gallery, k1, k2, lambda_value), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("queries", "images"), [(1, 1), (1, 2), (2, 1), (3, 5), (1, 30), (30, 1)])
def test_of_tiny_sets_too(block_size, queries, images):
    query, gallery = _split(_features(queries + images, 4), queries)
    ours = rerank_by(manhattan, query, gallery)
    torch.testing.assert_close(ours, _expected(manhattan, query, gallery), atol=1e-5, rtol=0)


def test_ties_are_broken_as_in_the_matrices(block_size):
    features = _features(120, 6)
    features[40:80] = features[:40]
    features[100:110] = features[3]
    for outputs in (features, (features * 2).round()):  # many distances are whole numbers, and equal
        query, gallery = _split(outputs, 30)
        ours = rerank_by(manhattan, query, gallery, 9, 4)
        torch.testing.assert_close(ours, _expected(manhattan, query, gallery, 9, 4), atol=1e-5, rtol=0)


@settings(max_examples=50, deadline=None)
@given(
    queries=st.integers(1, 20),
    images=st.integers(1, 60),
    k1=st.integers(1, 25),
    k2=st.integers(1, 9),
    elements=st.integers(1, 3000),
    together=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_block_size_gives_the_same(queries, images, k1, k2, elements, together, seed):
    query, gallery = _split(_features(queries + images, 5, seed), queries)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairwise, "_BLOCK_ELEMENTS", elements)
        patch.setattr(pairwise, "_IMAGES_AT_A_TIME", together)
        ours = rerank_by(manhattan, query, gallery, k1, k2)
    torch.testing.assert_close(ours, _expected(manhattan, query, gallery, k1, k2), atol=1e-5, rtol=0)


def test_by_the_euclidean_distance_it_is_re_ranking_of_the_features():
    query, gallery = _split(_features(200, 16), 50)
    torch.testing.assert_close(rerank_by(_euclidean, query, gallery), rerank(query, gallery), atol=1e-4, rtol=0)


def test_a_distance_may_give_arrays_and_half_precision():
    query, gallery = _split(_features(90, 16), 20)
    expected = rerank_by(manhattan, query, gallery)
    as_array = rerank_by(lambda q, g: manhattan(q, g).double().numpy(), query, gallery)
    torch.testing.assert_close(as_array, expected)


def test_the_distance_is_never_asked_for_the_whole_gallery_at_once(monkeypatch):
    monkeypatch.setattr(pairwise, "_BLOCK_ELEMENTS", 4000)
    monkeypatch.setattr(pairwise, "_IMAGES_AT_A_TIME", 4)
    asked = []

    def counted(query, gallery):
        asked.append((count(query), count(gallery)))
        return manhattan(query, gallery)

    query, gallery = _split(_features(400, 8), 60)
    rerank_by(counted, query, gallery)
    sizes = [height * width for height, width in asked]
    assert max(sizes) <= 4000
    assert 400**2 < sum(sizes) < 2 * 400**2


def test_outputs_given_are_left_as_they_are():
    query, gallery = _split(_parts(60), 20)
    before = {name: value.clone() for name, value in {**query, **{f"g{k}": v for k, v in gallery.items()}}.items()}
    rerank_by(_of_visible_parts, query, gallery)
    after = {**query, **{f"g{name}": value for name, value in gallery.items()}}
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize(
    ("distance", "message"),
    [
        (lambda q, g: torch.ones(len(q)), r"a distance must be \[Q, G\], here .* returned"),
        (
            lambda q, g: torch.full((len(q), len(g)), torch.nan),
            "gave NaN or infinite distances, which cannot be re-ranked",
        ),
        (lambda q, g: manhattan(q, g) * len(g), "gave .* of two images alone, and .* each pair on its own"),
    ],
)
def test_what_is_no_distance_of_pairs_is_named(distance, message):
    query, gallery = _split(_features(60, 4), 20)
    with pytest.raises(ValueError, match=message):
        rerank_by(distance, query, gallery)


def test_images_that_are_all_alike_are_re_ranked():
    distances = rerank_by(torch.cdist, torch.ones(30, 64) * 0.3, torch.ones(90, 64) * 0.3)
    assert distances.shape == (30, 90)
    assert ((distances >= 0) & (distances <= 1)).all()


def test_nothing_to_rank_is_named():
    with pytest.raises(ValueError, match="there is no gallery image"):
        rerank_by(manhattan, torch.ones(3, 2), torch.ones(0, 2))
    with pytest.raises(ValueError, match="there is no query image"):
        rerank_by(manhattan, torch.ones(0, 2), torch.ones(3, 2))
    with pytest.raises(ValueError, match="k1 must be 1 or more"):
        rerank_by(manhattan, torch.ones(3, 2), torch.ones(3, 2), k1=0)


def test_pairs_that_were_found_are_looked_up_and_others_are_computed_in_either_half():
    query, gallery = _split(_features(50, 4), 13)
    joint = manhattan(torch.cat((query, gallery)), torch.cat((query, gallery)))
    pairs = PairwiseDistances(manhattan, query, gallery)
    search = pairs.search(5)
    np.testing.assert_array_equal(search.farthest, joint.amax(dim=1))
    generator = torch.Generator().manual_seed(0)
    of = torch.randint(0, 50, (300,), generator=generator).sort().values
    to = torch.randint(0, 50, (300,), generator=generator)
    torch.testing.assert_close(pairs.of(of, to), joint[of, to])
    distances, missing = FoundPairs(search.neighbors, search.nearest).look_up(of, to)
    found = torch.ones(300, dtype=torch.bool)
    found[missing] = False
    assert torch.equal(found, (search.neighbors[of] == to[:, None]).any(dim=1)) and found.any()
    torch.testing.assert_close(distances[found], joint[of, to][found])
