"""Embeddings that are near stand near, and groups are told apart without colour."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.pictures.space import _COLOURS, _MARKS, MOST_IDENTITIES, choose_identities, draw_space, flat


def clusters(count=3, each=12, width=16):
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(count, width))
    identities = np.repeat(np.arange(count), each)
    return (centres[identities] + 0.1 * rng.normal(size=(count * each, width))).astype(np.float32), identities


@pytest.mark.parametrize("method", ["tsne", "pca"])
def test_the_nearest_point_is_of_the_same_cluster(method):
    vectors, identities = clusters()
    places, axes = flat(vectors, method)
    assert places.shape == (36, 2) and np.isfinite(places).all()
    apart = np.linalg.norm(places[:, None] - places[None], axis=2) + np.diag(np.full(36, np.inf))
    assert (identities[apart.argmin(axis=1)] == identities).all()
    assert axes.lower().startswith(method.replace("tsne", "t-sne"))


def test_pca_is_that_of_unit_vectors():
    vectors, _ = clusters()
    places, axes = flat(vectors * np.arange(1, 37, dtype=np.float32)[:, None], "pca")
    pca = PCA(2).fit(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    assert f"{100 * pca.explained_variance_ratio_.sum():.0f} %" in axes
    np.testing.assert_allclose(places.var(axis=0, ddof=1), pca.explained_variance_, rtol=1e-4)


def test_the_seed_decides():
    vectors, _ = clusters()
    assert np.array_equal(flat(vectors, "tsne", 1)[0], flat(vectors, "tsne", 1)[0])


@pytest.mark.parametrize(
    ("count", "method", "message"), [(2, "pca", "2 images are too few"), (9, "umap", "tsne or pca")]
)
def test_what_cannot_be_placed_is_refused(count, method, message):
    with pytest.raises(UsageError, match=message):
        flat(np.ones((count, 4), dtype=np.float32), method)


def test_identities_with_most_images_are_chosen_and_distractors_are_not():
    identities = np.array([5, 7, 9, *[0] * 50, *[-1] * 50, *[7] * 3, *[9] * 4, 5])
    assert choose_identities(identities, queries=3, count=2).tolist() == [7, 9]
    assert choose_identities(identities, queries=3, count=10).tolist() == [5, 7, 9]


def test_no_two_identities_look_alike():
    looks = {(n % len(_COLOURS), sum(divmod(n, len(_COLOURS))) % len(_MARKS)) for n in range(MOST_IDENTITIES)}
    assert len(looks) == MOST_IDENTITIES == 56


def test_the_picture_has_two_panels_with_points_in_both():
    vectors, identities = clusters()
    picture = draw_space(flat(vectors, "pca")[0], identities, identities % 2, "title", "axes")
    pixels = np.asarray(picture).astype(int)
    coloured = (np.ptp(pixels, axis=2) > 60).any(axis=0)
    assert coloured[: picture.width // 2].any() and coloured[picture.width // 2 :].any()
