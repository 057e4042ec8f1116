"""Inference: the folded network, which computes a model's features and nothing else."""

from mdpr_fastreid.inference.folding import fold
from mdpr_fastreid.inference.loading import load
from mdpr_fastreid.inference.network import PRECISIONS, FoldedNetwork

__all__ = ["PRECISIONS", "FoldedNetwork", "fold", "load"]
