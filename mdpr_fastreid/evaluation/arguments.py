"""The errors for arguments that a function of this package cannot compute with."""

import math
import numbers

import numpy as np
import torch

# Letters that NumPy gives to booleans, integers and floating-point numbers
_REAL_KINDS = "biuf"

# How far below zero rounding may leave a distance: as a share of the largest one, and at least
_ROUNDING, _LEAST_ROUNDING = 1e-2, 1e-6


def need_whole(name: str, value: object, least: int = 1) -> None:
    """Refuse what is no whole number from ``least`` on.

    Raises:
        ValueError: it names the argument and what was given.
    """
    if not isinstance(value, numbers.Integral):
        raise ValueError(f"{name} must be a whole number, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be {least} or more, got {value}")


def need_share(name: str, value: object) -> None:
    """Refuse what is no number between 0 and 1.

    Raises:
        ValueError: it names the argument and what was given.
    """
    if not isinstance(value, numbers.Real) or not 0 <= value <= 1:
        raise ValueError(f"{name} must be between 0 and 1, got {value}")


def need_finite(name: str, value: object) -> None:
    """Refuse what is no number, NaN or infinite.

    Raises:
        ValueError: it names the argument and what was given.
    """
    if not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value!r}")


def need_real(name: str, values: np.ndarray | torch.Tensor) -> None:
    """Refuse arrays of complex numbers, text or objects, whose parts or order would be lost in silence.

    Raises:
        ValueError: it names the array and its type.
    """
    is_real = not values.is_complex() if isinstance(values, torch.Tensor) else values.dtype.kind in _REAL_KINDS
    if not is_real:
        raise ValueError(f"{name} must be real numbers, got {values.dtype}")


def need_no_negatives(name: str, lowest: float, largest: float) -> None:
    """Refuse distances below zero, which would be squared; what rounding leaves there (a hundredth) is let pass.

    Args:
        name: of the distances.
        lowest: of all distances.
        largest: of all distances.

    Raises:
        ValueError: it names the distances and the lowest one.
    """
    if lowest < -max(_ROUNDING * largest, _LEAST_ROUNDING):
        raise ValueError(f"{name} has negative distances, down to {lowest:.4g}: a similarity s is ranked by as 1 - s")


def check_labels(
    distances: np.ndarray,
    query_ids: np.ndarray,
    gallery_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_cameras: np.ndarray,
) -> tuple[np.ndarray, ...]:
    """Return all five as arrays, or say which of them does not fit the distance matrix.

    Raises:
        ValueError: the distances are not real numbers or not a matrix, there is no query or no gallery image, or a
            label array has NaN or another length than the matrix has rows (query) or columns (gallery).
    """
    distances = np.asarray(distances)
    need_real("distances", distances)
    if distances.ndim != 2:
        raise ValueError(f"distances must be a matrix [query, gallery], got shape {distances.shape}")
    if 0 in distances.shape:
        raise ValueError(f"distances has no {'query' if not len(distances) else 'gallery'} image: {distances.shape}")
    labels = []
    for name, values, length in (
        ("query_ids", query_ids, distances.shape[0]),
        ("gallery_ids", gallery_ids, distances.shape[1]),
        ("query_cameras", query_cameras, distances.shape[0]),
        ("gallery_cameras", gallery_cameras, distances.shape[1]),
    ):
        values = np.asarray(values)
        if values.shape != (length,):
            raise ValueError(
                f"{name} must have shape ({length},) as distances is {distances.shape}, got {values.shape}"
            )
        if values.dtype.kind == "f" and np.isnan(values).any():
            raise ValueError(f"{name} has NaN, first at {int(np.isnan(values).argmax())}")
        labels.append(values)
    return distances, *labels


def need_numbers(distances: np.ndarray, first_query: int = 0) -> None:
    """Raise a ValueError that names the first query (row, counted from ``first_query``) with a NaN distance."""
    unknown = np.isnan(distances).any(axis=1)
    if unknown.any():
        raise ValueError(f"distances has NaN, first in the row of query {first_query + int(unknown.argmax())}")
