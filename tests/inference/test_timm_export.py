"""Exported files of timm's backbones compute the folded network's features, at batches of 1 and 7."""

import importlib.util

import pytest
import torch
from support.timm_families import FAMILIES, METHODS, SIZE, timm_model

from mdpr_fastreid.inference import fold
from mdpr_fastreid.inference.export import export

FORMATS = ["torch-export"]
if all(importlib.util.find_spec(package) for package in ("onnx", "onnxscript", "onnxruntime")):
    FORMATS.append("onnx")


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_exported_features_are_those_of_the_folded_network(family, method, file_format, tmp_path):
    network = fold(timm_model(method, family), winograd=False)
    path = tmp_path / "network.pt2"
    # Runs batches of 1 and 7 from the file, and refuses to write one that computes something else
    difference = export(network, path, file_format, SIZE, {})
    assert difference < 1e-4
    assert path.stat().st_size > 10_000
