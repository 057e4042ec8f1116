"""Re-ranking against stock FastReID's dense loops, the authors' algorithm, and a case worked out by hand."""

import sys
import types

import faiss
import numpy as np
import pytest
import torch
from fastreid.evaluation import rerank as stock_rerank
from hypothesis import given, settings
from hypothesis import strategies as st

from mdpr_fastreid.bench.rerank import clustered_features
from mdpr_fastreid.compat import stock
from mdpr_fastreid.evaluation import k_reciprocal, neighbors, reranking
from mdpr_fastreid.evaluation.distance import cosine_distances, squared_euclidean_distances
from mdpr_fastreid.evaluation.reranking import blended_distances, k_reciprocal_jaccard, rerank, rerank_distances

_STOCK_JACCARD = stock("fastreid.utils.compute_dist:compute_jaccard_distance")
_STOCK_RERANK = stock_rerank.re_ranking


def _stock_jaccard(features, k1, k2):
    return _STOCK_JACCARD(torch.from_numpy(features), k1=k1, k2=k2, search_option=3)


def _euclidean(features):
    features = features.astype(np.float64)
    return np.linalg.norm(features[:, None] - features[None], axis=2).astype(np.float32)


def _stock_rerank(features, num_query, *options):
    distances = _euclidean(features)
    blocks = distances[:num_query, num_query:], distances[:num_query, :num_query], distances[num_query:, num_query:]
    return blocks, _STOCK_RERANK(*blocks, *options)


@pytest.fixture(params=["blocks", "whole"])
def blocks(request, monkeypatch):
    """Results do not depend on how many rows are handled at a time."""
    if request.param == "blocks":
        monkeypatch.setattr(k_reciprocal, "_BLOCK_ELEMENTS", {"cpu": 1000, "cuda": 1000})
        monkeypatch.setattr(k_reciprocal, "_TABLE_CELLS", 100)
        monkeypatch.setattr(neighbors, "_BLOCK_ELEMENTS", 1000)


@pytest.mark.parametrize(("k1", "k2"), [(20, 6), (20, 1), (1, 1), (2, 2), (3, 5), (7, 6), (30, 8), (6, 10)])
@pytest.mark.parametrize(("count", "width"), [(3, 4), (19, 8), (20, 8), (21, 8), (60, 16), (300, 32)])
def test_jaccard_equals_stock_fastreid(blocks, count, width, k1, k2):
    features = clustered_features(count, width)
    stock = _stock_jaccard(features, k1, k2)
    np.testing.assert_allclose(k_reciprocal_jaccard(features, None, k1, k2), stock, atol=1e-5)
    query = max(1, count // 4)
    block = k_reciprocal_jaccard(features[:query], features[query:], k1, k2)
    np.testing.assert_allclose(block, stock[:query, query:], atol=1e-5)


def test_jaccard_equals_stock_on_a_thousand_features_that_are_not_normalised():
    features = 3 * clustered_features(1000, 64)
    np.testing.assert_allclose(k_reciprocal_jaccard(features), _stock_jaccard(features, 20, 6), atol=1e-5)


def test_jaccard_equals_stock_in_neighborhoods_of_nearly_all_images():
    features = clustered_features(300, 16, per_identity=150)
    np.testing.assert_allclose(
        k_reciprocal_jaccard(features, None, 280, 6), _stock_jaccard(features, 280, 6), atol=1e-5
    )


@pytest.mark.parametrize(("k1", "k2"), [(20, 6), (20, 1), (5, 3)])
def test_jaccard_equals_stock_where_features_are_duplicates(blocks, k1, k2):
    features = clustered_features(300, 16)
    features[50:120] = features[:70]
    features[120:150] = features[3]
    np.testing.assert_allclose(
        k_reciprocal_jaccard(features, None, k1, k2), _stock_jaccard(features, k1, k2), atol=1e-5
    )


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(2, 70),
    width=st.integers(1, 6),
    per_identity=st.integers(1, 20),
    k1=st.integers(1, 25),
    k2=st.integers(1, 9),
    seed=st.integers(0, 2**32 - 1),
)
def test_jaccard_equals_stock_on_any_features(count, width, per_identity, k1, k2, seed):
    features = clustered_features(count, width, seed, per_identity)
    np.testing.assert_allclose(
        k_reciprocal_jaccard(features, None, k1, k2), _stock_jaccard(features, k1, k2), atol=1e-5
    )


@pytest.mark.parametrize(("k1", "k2"), [(20, 6), (20, 1), (1, 1), (3, 5), (7, 6), (30, 8)])
@pytest.mark.parametrize(("count", "width"), [(3, 4), (21, 8), (22, 8), (60, 16), (300, 32)])
def test_rerank_equals_the_authors_algorithm(blocks, count, width, k1, k2):
    features, query = clustered_features(count, width), max(1, count // 4)
    distances, stock = _stock_rerank(features, query, k1, k2, 0.3)
    np.testing.assert_allclose(rerank(features[:query], features[query:], k1, k2, 0.3), stock, atol=1e-5)
    np.testing.assert_allclose(rerank_distances(*distances, k1, k2, 0.3), stock, atol=1e-5)


def test_rerank_distances_takes_matrices_that_are_not_symmetric():
    rng = np.random.default_rng(0)
    matrices = rng.random((20, 60)), rng.random((20, 20)), rng.random((60, 60))
    for square in matrices[1:]:
        np.fill_diagonal(square, 0)
    np.testing.assert_allclose(rerank_distances(*matrices, 7, 3, 0.2), _STOCK_RERANK(*matrices, 7, 3, 0.2), atol=1e-5)


def test_lambda_goes_from_the_jaccard_to_the_original_distance():
    features = clustered_features(60, 8)
    query, gallery = features[:15], features[15:]
    squared = _euclidean(features) ** 2
    original = (squared / squared.max(axis=1, keepdims=True))[:15, 15:]
    np.testing.assert_allclose(rerank(query, gallery, lambda_value=1), original, atol=1e-5)
    half = (rerank(query, gallery, lambda_value=0) + original) / 2
    np.testing.assert_allclose(rerank(query, gallery, lambda_value=0.5), half, atol=1e-5)


def test_jaccard_of_a_case_worked_out_by_hand():
    # On a line, k1 = 2: 0 and 1 are each other's neighbours, and so are 10 and 12; rounding half to even
    # gives the candidates' sets two members, so nothing is added. Weights are softmax(0, -d^2).
    features = np.array([[1.0], [2.0], [11.0], [13.0]], dtype=np.float32)
    near, far = 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(-4))
    shared = [2 * (1 - near), 2 * (1 - far)]
    pair = [1 - m / (2 - m) for m in shared]
    expected = np.array([[0, pair[0], 1, 1], [pair[0], 0, 1, 1], [1, 1, 0, pair[1]], [1, 1, pair[1], 0]])
    np.testing.assert_allclose(k_reciprocal_jaccard(features, k1=2, k2=1), expected, atol=1e-6)


def test_jaccard_is_a_symmetric_distance_between_0_and_1_and_0_to_itself():
    distances = k_reciprocal_jaccard(clustered_features(200, 16))
    assert distances.min() >= 0
    assert distances.max() <= 1
    np.testing.assert_allclose(distances, distances.T, atol=1e-6)
    np.testing.assert_allclose(np.diag(distances), 0, atol=1e-6)


def test_jaccard_follows_a_permutation_of_the_images():
    features = clustered_features(150, 16)
    order = np.random.default_rng(0).permutation(150)
    shuffled = k_reciprocal_jaccard(features[order])
    np.testing.assert_allclose(shuffled, k_reciprocal_jaccard(features)[order][:, order], atol=1e-5)


def test_one_image_in_the_sets_of_all_others_changes_nothing(monkeypatch):
    features = clustered_features(120, 2, per_identity=120, noise=1.0)
    whole = k_reciprocal_jaccard(features, None, 60, 6)
    monkeypatch.setattr(k_reciprocal, "_BLOCK_ELEMENTS", {"cpu": 50, "cuda": 50})
    np.testing.assert_allclose(k_reciprocal_jaccard(features, None, 60, 6), whole, atol=1e-6)


def test_re_ranking_improves_a_ranking_of_noisy_clusters():
    from mdpr_fastreid.evaluation.ranking import rank_metrics

    rng = np.random.default_rng(0)
    identities = np.arange(400) % 25
    features = rng.standard_normal((25, 32))[identities] + 1.6 * rng.standard_normal((400, 32))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    labels = identities[:50], identities[50:], np.zeros(50), np.ones(350)
    before = rank_metrics(cosine_distances(features[:50], features[50:]), *labels)
    after = rank_metrics(rerank(features[:50], features[50:]), *labels)
    assert after.average_precision.mean() > before.average_precision.mean() + 0.05


@pytest.mark.parametrize("function", [k_reciprocal_jaccard, blended_distances, rerank])
def test_a_tensor_comes_back_as_a_tensor_on_its_device_with_the_same_numbers(device, function):
    features = clustered_features(200, 16)
    result = function(torch.from_numpy(features[:50]).to(device), torch.from_numpy(features[50:]).to(device))
    assert result.device.type == device.type
    np.testing.assert_allclose(result.cpu(), function(features[:50], features[50:]), atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_half_and_double_features_are_computed_in_single_precision(dtype):
    features = clustered_features(100, 16).astype(dtype)
    result = k_reciprocal_jaccard(features)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, k_reciprocal_jaccard(features.astype(np.float32)))


def test_the_gpus_search_finds_what_faiss_finds(device, blocks):
    features = torch.from_numpy(clustered_features(500, 32)).to(device)
    indices, nearest, farthest = neighbors.search_blocks(features, 20)
    expected, distances = neighbors.nearest_neighbors(features.cpu(), 20)
    np.testing.assert_array_equal(indices.cpu(), expected)
    np.testing.assert_allclose(nearest.cpu(), distances, atol=1e-5)
    all_distances = _euclidean(features.cpu().numpy()) ** 2
    np.testing.assert_allclose(farthest.cpu(), all_distances.max(axis=1), atol=1e-5)


def test_jaccard_by_the_gpus_search_equals_stock(device, blocks, monkeypatch):
    monkeypatch.setattr(reranking, "nearest_neighbors", lambda *args: neighbors.search_blocks(*args)[:2])
    features = clustered_features(400, 32)
    ours = k_reciprocal_jaccard(torch.from_numpy(features).to(device))
    np.testing.assert_allclose(ours.cpu(), _stock_jaccard(features, 20, 6), atol=1e-5)


def test_distance_matrices_on_a_device_give_a_tensor_there(device):
    distances, stock = _stock_rerank(clustered_features(90, 16), 20, 7, 3, 0.3)
    ours = rerank_distances(*(torch.from_numpy(block).to(device) for block in distances), 7, 3, 0.3)
    assert ours.device.type == device.type
    np.testing.assert_allclose(ours.cpu(), stock, atol=1e-5)


def test_half_precision_tensors_are_computed_in_single_precision_on_their_device(device):
    features = torch.from_numpy(clustered_features(120, 16)).half().to(device)
    for function in (k_reciprocal_jaccard, blended_distances, rerank):
        result = function(features[:30], features[30:])
        assert (result.dtype, result.device.type) == (torch.float32, device.type)
        single = features.float().cpu().numpy()
        np.testing.assert_allclose(result.cpu(), function(single[:30], single[30:]), atol=1e-5)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_blended_distances_are_the_jaccard_and_the_metric_in_their_shares(metric):
    features = 2 * clustered_features(150, 16)
    query, gallery = features[:40], features[40:]
    distance = {"cosine": cosine_distances, "euclidean": squared_euclidean_distances}[metric](query, gallery)
    if metric == "cosine":
        query, gallery = query / 2, gallery / 2
    jaccard = k_reciprocal_jaccard(query, gallery, 9, 4)
    ours = blended_distances(features[:40], features[40:], metric, 9, 4, 0.2)
    np.testing.assert_allclose(ours, 0.8 * jaccard + 0.2 * distance, atol=1e-5)


def test_an_unknown_metric_of_a_blend_is_named():
    with pytest.raises(ValueError, match="the metric must be cosine, euclidean, jaccard, got 'l1'"):
        blended_distances(_GOOD, _GOOD, "l1")


@pytest.mark.parametrize("count", [40, 60, 61, 80, 119, 121])
def test_the_search_in_blocks_finds_what_one_search_finds(monkeypatch, count):
    features = torch.from_numpy(clustered_features(count, 16))
    distances, indices = faiss.knn(features.numpy(), features.numpy(), 7)
    monkeypatch.setattr(neighbors, "_FAISS_BLOCK", 40)
    ours, nearest = neighbors.nearest_neighbors(features, 7)
    np.testing.assert_array_equal(ours, indices)
    np.testing.assert_allclose(nearest, distances, atol=1e-6)


class _OnFakeGpu(torch.Tensor):
    """A tensor in the CPU's memory that says it is on a GPU."""

    device, is_cuda = torch.device("cuda", 0), True


@pytest.mark.parametrize(("with_gpu", "k"), [(True, 5), (True, 2049), (False, 5)])
def test_on_a_gpu_faiss_searches_where_it_can_and_torch_where_not(monkeypatch, with_gpu, k):
    calls = []

    def knn_gpu(resources, queries, images, k, device):
        calls.append((resources, k, device))
        return torch.zeros(len(queries), k), torch.ones(len(queries), k, dtype=torch.int64)

    fake = types.SimpleNamespace(knn_gpu=knn_gpu)
    if with_gpu:
        fake.StandardGpuResources = lambda: "resources"
    monkeypatch.setattr(neighbors, "faiss", fake)
    monkeypatch.setitem(sys.modules, "faiss.contrib.torch_utils", types.ModuleType("faiss.contrib.torch_utils"))
    monkeypatch.setattr(neighbors, "search_blocks", lambda features, k: ("torch's indices", "distances", "farthest"))
    indices, _ = neighbors.nearest_neighbors(torch.ones(3, 2).as_subclass(_OnFakeGpu), k)
    if with_gpu and k == 5:
        assert calls == [("resources", 5, 0)]
        assert indices.dtype == torch.int64
    else:
        assert indices == "torch's indices"
        assert not calls


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_the_search_on_a_gpu_finds_what_faiss_finds_on_a_cpu():
    features = torch.from_numpy(clustered_features(500, 32))
    indices, nearest = neighbors.nearest_neighbors(features.cuda(), 20)
    expected, distances = neighbors.nearest_neighbors(features, 20)
    assert indices.is_cuda
    np.testing.assert_array_equal(indices.cpu(), expected)
    np.testing.assert_allclose(nearest.cpu(), distances, atol=1e-5)


def test_features_given_are_left_as_they_are():
    features = clustered_features(60, 8)
    before = features.copy()
    rerank(features[:20], features[20:])
    blended_distances(features[:20], features[20:])
    k_reciprocal_jaccard(features)
    np.testing.assert_array_equal(features, before)


_GOOD = np.eye(6, 4, dtype=np.float32) + 1


def _with(value, row=2):
    features = _GOOD.copy()
    features[row] = value
    return features


@pytest.mark.parametrize(
    ("query", "gallery", "message"),
    [
        (_with(np.nan), _GOOD, "query features have NaN, infinite or too large values, first in row 2"),
        (_GOOD, _with(np.inf), "gallery features have NaN, infinite or too large values, first in row 2"),
        (_GOOD, _with(0), "gallery features have zero length in row 2"),
        (np.ones((6, 0)), np.ones((6, 0)), r"query features have zero length: shape \(6, 0\)"),
        (_GOOD, np.ones((6, 5)), "gallery features are 5 wide, the others 4"),
        (_GOOD, _GOOD[:0], "gallery features are empty: there is no gallery image"),
        (_GOOD[:0], _GOOD, "query features are empty: there is no query image"),
        (_GOOD[0], _GOOD, r"query features must be a matrix \[N, D\], got shape \(4,\)"),
    ],
)
@pytest.mark.parametrize("function", [k_reciprocal_jaccard, blended_distances, rerank])
def test_bad_features_are_named(function, query, gallery, message):
    with pytest.raises(ValueError, match=message):
        function(query, gallery)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k1": 0}, "k1 must be 1 or more, got 0"),
        ({"k2": -1}, "k2 must be 1 or more, got -1"),
        ({"lambda_value": 1.5}, "lambda_value must be between 0 and 1, got 1.5"),
    ],
)
def test_bad_settings_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        rerank(_GOOD, _GOOD, **options)
    with pytest.raises(ValueError, match=message):
        rerank_distances(np.ones((2, 3)), np.ones((2, 2)), np.ones((3, 3)), **options)


def test_distance_matrices_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"need query x query \(2, 2\) .*, got \(3, 3\), \(3, 3\)"):
        rerank_distances(np.ones((2, 3)), np.ones((3, 3)), np.ones((3, 3)))
    with pytest.raises(ValueError, match=r"need query x query \(2, 2\) and gallery x gallery \(3, 3\)"):
        rerank_distances(np.ones((2, 3)), np.ones((1, 2)), np.ones((3, 3)))
