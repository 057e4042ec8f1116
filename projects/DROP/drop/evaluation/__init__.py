"""Comparison of images by the parts that both show."""

from drop.evaluation.part_distances import compared_parts, part_distances

__all__ = ["compared_parts", "part_distances"]
