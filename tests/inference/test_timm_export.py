"""Exported files of timm's backbones compute the folded network's features, at batches of 1 and 7."""

import importlib.util

import pytest
import torch
from support.timm_families import SIZE, timm_model

from mdpr_fastreid.inference import fold
from mdpr_fastreid.inference.export import export

# One family of each kind here; `mdpr bench backbones` exports all of them
CASES = [("Baseline", "swin", "torch-export")]
if all(importlib.util.find_spec(package) for package in ("onnx", "onnxscript", "onnxruntime")):
    CASES += [("MDPR", family, "onnx") for family in ("vit", "hiera", "efficientnet")]


@pytest.mark.parametrize(("method", "family", "file_format"), CASES)
@torch.no_grad()
def test_exported_features_are_those_of_the_folded_network(method, family, file_format, tmp_path):
    network = fold(timm_model(method, family), winograd=False)
    path = tmp_path / "network.pt2"
    # Runs batches of 1 and 7 from the file, and refuses to write one that computes something else
    difference = export(network, path, file_format, SIZE, {})
    assert difference < 1e-4
    assert path.stat().st_size > 10_000
