"""What `mdpr export` writes of a trained DROP computes its embeddings and visibilities, for any batch."""

import json

import pytest
import torch
from small_drop import batch_of, small

from mdpr_fastreid.inference import fold
from mdpr_fastreid.inference.export import METADATA_FILE, export, metadata
from mdpr_fastreid.modeling import build_model


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folded network whose weights are not the fresh ones, and the file they came from."""
    torch.manual_seed(0)
    model = build_model(small()).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(3):
        optimizer.zero_grad()
        sum(model(batch_of()).values()).backward()
        optimizer.step()
    weights = tmp_path_factory.mktemp("weights") / "weights.pth"
    torch.save({"model": model.state_dict()}, weights)
    return fold(model, winograd=False), weights


@pytest.mark.parametrize("file_format", ["onnx", "torchscript", "torch-export"])
def test_a_file_gives_what_the_network_gives(trained, tmp_path, file_format):
    network, weights = trained
    path = tmp_path / "drop.pt2"
    about = metadata(small(), network, weights)
    assert export(network, path, file_format, (64, 32), about) < 1e-4
    with torch.no_grad():
        expected = network(batch_of(5, 5, seed=3)["images"])
    images = batch_of(5, 5, seed=3)["images"]
    if file_format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        found = dict(zip(names, map(torch.from_numpy, session.run(None, {"images": images.numpy()})), strict=True))
        said = session.get_modelmeta().custom_metadata_map["outputs"]
    else:
        files = {METADATA_FILE: ""}
        load = (
            torch.jit.load
            if file_format == "torchscript"
            else lambda p, **kw: torch.export.load(p, extra_files=kw["_extra_files"]).module()
        )
        found, said = load(str(path), _extra_files=files)(images), json.loads(files[METADATA_FILE])["outputs"]
    assert found.keys() == expected.keys() == json.loads(said).keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=1e-4, rtol=1e-4)
