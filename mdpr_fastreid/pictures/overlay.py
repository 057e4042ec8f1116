"""A map of where a model looks, over the image that it looks at."""

import matplotlib
import numpy as np
from PIL import Image

_OPACITY = 0.6
_COLOURS = "inferno"


def overlay(pixels: np.ndarray, attention: np.ndarray) -> np.ndarray:
    """An attention map over its image: dark where it is lowest in this map, bright where it is highest.

    Args:
        pixels: ``[H, W, 3]`` uint8.
        attention: ``[h, w]`` real numbers.

    Returns:
        ``[H, W, 3]`` uint8.
    """
    low, high = float(attention.min()), float(attention.max())
    spread = (attention.astype(np.float32) - low) / (high - low) if high > low else np.zeros_like(attention, np.float32)
    size = (pixels.shape[1], pixels.shape[0])
    grown = Image.fromarray((spread * 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    heat = colours(np.asarray(grown) / 255.0)
    grey = pixels.mean(axis=2, keepdims=True)
    return ((1 - _OPACITY) * grey + _OPACITY * heat).round().astype(np.uint8)


def colours(values: np.ndarray) -> np.ndarray:
    """Values from 0 to 1 as colours ``[..., 3]`` from 0 to 255, whose lightness grows with the value for every eye."""
    return matplotlib.colormaps[_COLOURS](values)[..., :3] * 255
