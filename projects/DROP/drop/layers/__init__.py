"""The layers DROP is made of."""

from drop.layers.detail_upsampling import DetailPreservingUpsampling
from drop.layers.part_pooling import PooledParts, part_pooling, pooling_weights
from drop.layers.pixel_classifier import PixelClassifier
from drop.layers.position_encoder import PositionEncoder
from drop.layers.reid_map import ReIDMap
from drop.layers.visibility import part_visibility

__all__ = [
    "DetailPreservingUpsampling",
    "PixelClassifier",
    "PooledParts",
    "PositionEncoder",
    "ReIDMap",
    "part_pooling",
    "part_visibility",
    "pooling_weights",
]
