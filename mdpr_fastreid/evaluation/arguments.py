"""The errors for numbers that a function of this package cannot compute with."""

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
