"""Comparison of images by the parts that both show, and how well parts are found."""

from drop.evaluation.parsing_quality import MEAN_IOU, PIXEL_ACCURACY, VISIBILITY_F1, parsing_counts, parsing_metrics
from drop.evaluation.part_distances import compared_parts, part_distances

__all__ = [
    "MEAN_IOU",
    "PIXEL_ACCURACY",
    "VISIBILITY_F1",
    "compared_parts",
    "parsing_counts",
    "parsing_metrics",
    "part_distances",
]
