"""Weight files: read without running code, recognised by their names, fitted to a model, written whole."""

from mdpr_fastreid.weights.evaluating import load_for_evaluation
from mdpr_fastreid.weights.files import load_weight_file, read_checkpoint, read_weights, write_weights
from mdpr_fastreid.weights.integrity import check_sha256, sha256_file, sha256_of, write_with_sha256
from mdpr_fastreid.weights.loading import Fit, fit_to, load_backbone, start_from

__all__ = [
    "Fit",
    "check_sha256",
    "fit_to",
    "load_backbone",
    "load_for_evaluation",
    "load_weight_file",
    "read_checkpoint",
    "read_weights",
    "sha256_file",
    "sha256_of",
    "start_from",
    "write_weights",
    "write_with_sha256",
]
