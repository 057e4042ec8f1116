"""Average query expansion, in blocks, on the device the features are on."""

import torch

from mdpr_fastreid.evaluation.arguments import need_finite, need_whole
from mdpr_fastreid.evaluation.features import Features, full_precision, joined, like_input, row_slices


def average_query_expansion(
    query: Features, gallery: Features, times: int = 1, k: int = 10, alpha: float = 3.0
) -> tuple[Features, Features]:
    """Replace every feature by a weighted mean of its nearest ones (Chum et al., ICCV 2007; Radenovic et al., 2018).

    The ``k`` nearest by cosine similarity, itself included, count with their similarity to the power ``alpha``.

    Args:
        query: ``[Q, D]`` NumPy array or tensor.
        gallery: ``[G, D]``.
        times: how often the expansion is repeated on its own result.
        k: number of neighbours; with fewer images all of them.
        alpha: power of the similarity.

    Returns:
        Expanded query ``[Q, D]`` and gallery ``[G, D]`` features, float32: NumPy if ``query`` is, else tensors on
        its device.

    Raises:
        ValueError: features that are empty, of different widths, not finite or of zero length; ``times`` below 0
            or ``k`` below 1, or no whole numbers; ``alpha`` that is not finite; expanded features that have no
            direction, as where ``alpha`` is a fraction and a similarity is negative.
    """
    need_whole("times of query expansion", times, least=0)
    need_whole("k of query expansion", k)
    need_finite("alpha of query expansion", alpha)
    features = joined(query, gallery)
    for _ in range(times):
        features = _expand_once(features, min(k, len(features)), alpha)
        _need_directions(features, alpha)
    given, num_query = query, len(query)
    return like_input(features[:num_query], given), like_input(features[num_query:], given)


def _need_directions(expanded: torch.Tensor, alpha: float) -> None:
    lengths = torch.linalg.vector_norm(expanded, dim=1)
    sound = (lengths > 0) & torch.isfinite(lengths)
    if not sound.all():
        raise ValueError(
            f"query expansion with alpha {alpha} gives NaN, infinite or zero features, first of image "
            f"{int((~sound).nonzero()[0])}: a negative similarity has no fractional power; give a whole alpha near 3, "
            "or a smaller k"
        )


def _expand_once(features: torch.Tensor, k: int, alpha: float) -> torch.Tensor:
    directions = torch.nn.functional.normalize(features, dim=1)
    expanded = torch.empty_like(features)
    with full_precision():
        for rows in row_slices(len(features), len(features)):
            similarities, nearest = (directions[rows] @ directions.T).topk(k, dim=1)
            expanded[rows] = _weighted_means(features, nearest, similarities**alpha)
    return expanded


def _weighted_means(features: torch.Tensor, nearest: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    means = features.new_empty(len(nearest), features.shape[1])
    for rows in row_slices(len(nearest), nearest.shape[1] * features.shape[1]):
        means[rows] = torch.einsum("nk,nkd->nd", weights[rows], features[nearest[rows]]) / nearest.shape[1]
    return means
