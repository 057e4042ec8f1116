"""Distances against stock FastReID and SciPy, query expansion against stock FastReID."""

import io
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torch
from fastreid.evaluation import query_expansion as stock_expansion
from fastreid.utils import compute_dist
from scipy.spatial.distance import cdist

from mdpr_fastreid.bench.rerank import clustered_features
from mdpr_fastreid.evaluation import features as feature_checks
from mdpr_fastreid.evaluation.distance import cosine_distances, squared_euclidean_distances
from mdpr_fastreid.evaluation.query_expansion import average_query_expansion

_STOCK_EUCLIDEAN = compute_dist.compute_euclidean_distance
_STOCK_COSINE = compute_dist.compute_cosine_distance
_STOCK_AQE = stock_expansion.aqe


@pytest.fixture(params=["blocks", "whole"])
def blocks(request, monkeypatch):
    """Results do not depend on how many rows are handled at a time."""
    if request.param == "blocks":
        monkeypatch.setattr(feature_checks, "BLOCK_ELEMENTS", 500)


def _query_and_gallery(scale=1.0):
    features = scale * clustered_features(300, 32)
    return features[:40], features[40:]


@pytest.mark.filterwarnings("ignore:This overload of addmm_ is deprecated")
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_squared_euclidean_distances_equal_stock_and_scipy(blocks, device, scale):
    query, gallery = map(torch.from_numpy, _query_and_gallery(scale))
    ours = squared_euclidean_distances(query.to(device), gallery.to(device))
    assert ours.device.type == device.type
    np.testing.assert_allclose(ours.cpu(), _STOCK_EUCLIDEAN(query, gallery), atol=2e-6 * scale**2)
    np.testing.assert_allclose(ours.cpu(), cdist(query, gallery, "sqeuclidean"), atol=2e-6 * scale**2)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_cosine_distances_equal_stock_and_scipy(blocks, device, scale):
    query, gallery = map(torch.from_numpy, _query_and_gallery(scale))
    ours = cosine_distances(query.to(device), gallery.to(device))
    assert ours.device.type == device.type
    np.testing.assert_allclose(ours.cpu(), _STOCK_COSINE(query, gallery), atol=1e-6)
    np.testing.assert_allclose(ours.cpu(), cdist(query, gallery, "cosine"), atol=1e-6)


_PRECISIONS = {
    "default": lambda: None,
    "TF32 by the old switch": lambda: setattr(torch.backends.cuda.matmul, "allow_tf32", True),
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "TF32 by the new switch": lambda: setattr(torch.backends, "fp32_precision", "tf32"),
    "TF32 of products": lambda: setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32"),
}


def _precision():
    try:
        return torch.get_float32_matmul_precision(), torch.backends.cuda.matmul.allow_tf32
    except RuntimeError:
        return torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision


@pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="PyTorch before 2.9 has the old switch only")
@pytest.mark.parametrize("name", _PRECISIONS)
def test_products_are_in_full_precision_whatever_is_set_and_the_setting_stays(name):
    # In a process of its own: PyTorch's two kinds of switches cannot be mixed, so they cannot all be set back here
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        before, inside, after = pool.submit(_precisions_around_a_product, name).result()
    assert inside in (("highest", False), ("ieee", "ieee"))
    assert after == before


def _precisions_around_a_product(name):
    _PRECISIONS[name]()
    before = _precision()
    with feature_checks.full_precision():
        inside = _precision()
    return before, inside, _precision()


def test_autocast_around_it_changes_no_distance(device):
    query, gallery = (torch.from_numpy(part).to(device) for part in _query_and_gallery())
    for function in (squared_euclidean_distances, cosine_distances):
        with torch.autocast(device.type, dtype=torch.bfloat16):
            inside = function(query, gallery)
        np.testing.assert_array_equal(inside.cpu(), function(query, gallery).cpu())


def test_numpy_features_give_numpy_distances():
    query, gallery = _query_and_gallery()
    for function in (squared_euclidean_distances, cosine_distances):
        ours = function(query, gallery)
        assert isinstance(ours, np.ndarray)
        np.testing.assert_array_equal(ours, function(torch.from_numpy(query), torch.from_numpy(gallery)))


@pytest.mark.parametrize(("times", "k", "alpha"), [(1, 5, 3.0), (1, 1, 3.0), (3, 10, 3.0), (1, 5, 0.0), (0, 5, 3.0)])
def test_query_expansion_equals_stock(blocks, device, times, k, alpha):
    query, gallery = map(torch.from_numpy, _query_and_gallery())
    ours = average_query_expansion(query.to(device), gallery.to(device), times, k, alpha)
    for mine, stock in zip(ours, _STOCK_AQE(query, gallery, times, k, alpha), strict=True):
        assert mine.device.type == device.type
        np.testing.assert_allclose(mine.cpu(), stock, atol=1e-6)


def test_query_expansion_of_fewer_images_than_k_takes_them_all():
    features = np.array([[1, 0], [0, 1], [1, 1]], dtype=np.float32)
    query, gallery = average_query_expansion(features[:1], features[1:], k=10, alpha=1.0)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(query, [[(1 + half) / 3, half / 3]], rtol=1e-6)
    np.testing.assert_allclose(gallery[1], [(half + 1) / 3, (half + 1) / 3], rtol=1e-6)


@pytest.mark.parametrize(("on_terminal", "delay"), [(True, 0), (True, 60), (False, 0)])
def test_a_bar_is_shown_on_a_terminal_only_and_for_long_work_only(monkeypatch, on_terminal, delay):
    stream = io.StringIO()
    stream.isatty = lambda: on_terminal
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(feature_checks, "_SECONDS_WITHOUT_BAR", delay)
    blocks = [slice(0, 1), slice(1, 2)]
    assert list(feature_checks.blocks_with_progress(blocks, "nearest neighbors")) == blocks
    assert ("nearest neighbors" in stream.getvalue()) == (on_terminal and not delay)


def test_a_feature_of_zero_length_has_a_distance_but_no_direction():
    features = np.array([[3, 4], [0, 0]], dtype=np.float32)
    np.testing.assert_allclose(squared_euclidean_distances(features, features), [[0, 25], [25, 0]])
    for function in (cosine_distances, average_query_expansion):
        with pytest.raises(ValueError, match="query features have zero length in row 1"):
            function(features, features)


@pytest.mark.parametrize(
    "function", [squared_euclidean_distances, cosine_distances, average_query_expansion], ids=lambda f: f.__name__
)
def test_features_that_do_not_fit_are_named(function):
    query, gallery = _query_and_gallery()
    with pytest.raises(ValueError, match="gallery features are 31 wide, the others 32"):
        function(query, gallery[:, 1:])
    with pytest.raises(ValueError, match="there is no gallery image"):
        function(query, gallery[:0])
    with pytest.raises(ValueError, match="query features have NaN, infinite or too large values, first in row 0"):
        function(query * np.nan, gallery)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"times": -1}, "times of query expansion must be 0 or more, got -1"),
        ({"k": 0}, "k of query expansion must be 1 or more, got 0"),
        ({"k": 1.5}, "k of query expansion must be a whole number, got 1.5"),
        ({"alpha": float("nan")}, "alpha of query expansion must be a finite number, got nan"),
        ({"alpha": None}, "alpha of query expansion must be a finite number, got None"),
    ],
)
def test_settings_of_query_expansion_out_of_range_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        average_query_expansion(*_query_and_gallery(), **options)
