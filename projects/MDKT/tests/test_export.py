"""What `mdpr export` writes of either stage embeds images as the network does, for any batch."""

import pytest
import torch
from small_mdkt import batch_of, config, model_of, train_steps

from mdpr_fastreid.inference import fold
from mdpr_fastreid.inference.export import export, metadata


@pytest.mark.parametrize("architecture", ["VideoReID", "MDKT"])
@pytest.mark.parametrize("file_format", ["onnx", "torchscript", "torch-export"])
def test_a_file_gives_what_the_network_gives(architecture, file_format, tmp_path):
    model, weights = model_of(architecture), tmp_path / "weights.pth"
    train_steps(model, steps=1)
    torch.save({"model": model.state_dict()}, weights)
    network, path = fold(model.eval(), winograd=False), tmp_path / "network.pt2"
    assert network.features == {"embedding": 512}
    about = metadata(config(architecture), network, weights)
    assert export(network, path, file_format, (32, 16), about) < 1e-3
    images = batch_of(5, 1)["images"]
    with torch.no_grad():
        expected = model(images)
    if file_format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        (found,) = map(torch.from_numpy, session.run(None, {"images": images.numpy()}))
    elif file_format == "torchscript":
        found = torch.jit.load(str(path))(images)
    else:
        found = torch.export.load(str(path)).module()(images)
    assert found.shape == (5, 512)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
