"""The embeddings of a test set in two dimensions, by identity and by camera."""

import io
from collections.abc import Sequence

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from mdpr_fastreid.errors import UsageError

METHODS = ("tsne", "pca")
_PERPLEXITY = 30
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000")
"""Okabe and Ito's palette without its yellow, which is faint on white."""
_MARKS = ("o", "^", "s", "D", "v", "P", "X", "*")
MOST_IDENTITIES = len(_COLOURS) * len(_MARKS)


def flat(vectors: np.ndarray, method: str, seed: int = 0) -> tuple[np.ndarray, str]:
    """Unit vectors in two dimensions.

    Args:
        vectors: ``[N, D]``; their length does not matter, as they are compared by cosine.
        method: ``tsne`` (van der Maaten and Hinton, JMLR 2008, started from PCA) or ``pca``, by scikit-learn.
        seed: of t-SNE.

    Returns:
        float64 ``[N, 2]``, and in words what the axes are.

    Raises:
        UsageError: there are fewer than three vectors, or another method.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if method not in METHODS:
        raise UsageError(f"--method {method!r}: give {' or '.join(METHODS)}")
    if len(vectors) < 3:
        raise UsageError(f"{len(vectors)} images are too few to draw: give three at least")
    unit = torch.nn.functional.normalize(torch.as_tensor(vectors, dtype=torch.float64), dim=1).numpy()
    if method == "pca":
        pca = PCA(2)
        places = pca.fit_transform(unit)
        return places, f"PCA, {100 * pca.explained_variance_ratio_.sum():.0f} % of the variance"
    perplexity = min(_PERPLEXITY, (len(unit) - 1) / 3)
    found = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(unit)
    return found.astype(np.float64), f"t-SNE, perplexity {perplexity:.0f}: neighbours count, distances do not"


def choose_identities(identities: np.ndarray, queries: int, count: int) -> np.ndarray:
    """The identities with most images, ``[count]`` at most, in their order, of those that have a query.

    Distractors and junk have none.

    Args:
        identities: ``[N]``, of the queries first.
        queries: how many they are.
        count: at most.
    """
    names, counts = np.unique(identities[np.isin(identities, identities[:queries])], return_counts=True)
    return np.sort(names[np.argsort(-counts, kind="stable")[:count]])


def draw_space(places: np.ndarray, identities: np.ndarray, cameras: np.ndarray, title: str, axes: str) -> Image.Image:
    """Two panels of the same points: an identity has a colour and a mark, and its number at its middle; so a camera.

    Args:
        places: ``[N, 2]``.
        identities: ``[N]``.
        cameras: ``[N]``.
        title: above both.
        axes: what the places are.
    """
    with matplotlib.rc_context({"font.size": 11, "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(12, 6.6), dpi=100, layout="constrained")
        left, right = figure.subplots(1, 2)
        _scatter(left, places, identities, [str(name) for name in np.unique(identities)], numbered=True)
        left.set_title("by identity")
        _scatter(right, places, cameras, [str(name) for name in np.unique(cameras)], numbered=False)
        right.set_title("by camera")
        right.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=6, frameon=False, fontsize=9, columnspacing=1
        )
        left.set_xlabel(axes, fontsize=10, color="#5f646e")
        figure.suptitle(title, fontsize=14)
        content = io.BytesIO()
        figure.savefig(content, format="png")
    return Image.open(content).convert("RGB")


def _scatter(axes: Axes, places: np.ndarray, groups: np.ndarray, labels: Sequence[str], numbered: bool) -> None:
    for number, (group, label) in enumerate(zip(np.unique(groups), labels, strict=True)):
        colour, mark = _COLOURS[number % len(_COLOURS)], _MARKS[sum(divmod(number, len(_COLOURS))) % len(_MARKS)]
        points = places[groups == group]
        axes.scatter(*points.T, s=34, c=colour, marker=mark, label=label, alpha=0.8, linewidths=0.3, edgecolors="white")
        if numbered:
            middle = np.median(points, axis=0)
            box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": colour, "alpha": 0.85}
            axes.annotate(label, middle, ha="center", va="center", fontsize=9, color="#1e222a", bbox=box)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.margins(0.05)
