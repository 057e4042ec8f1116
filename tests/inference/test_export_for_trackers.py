"""Files for trackers, which normalise the crops themselves: ``mdpr export --input normalized``."""

import importlib.util

import numpy as np
import pytest
import torch
from support.image_trees import write_images
from support.saved_runs import saved_run

from mdpr_fastreid import ReID, cli
from mdpr_fastreid.errors import UsageError

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="needs ONNX: pip install onnx onnxscript onnxruntime",
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A run's folder and the files of both kinds of input."""
    folder = tmp_path_factory.mktemp("run")
    saved_run(folder, "MODEL.MDPR.EMBEDDING_DIM", 8)
    words = ["export", "--config-file", str(folder / "config.yaml"), "--weights", str(folder / "model_best.pth")]
    for kind in ("pixels", "normalized"):
        output = str(folder / f"{kind}.onnx")
        assert cli.main([*words, "--format", "onnx", "--output", output, "--input", kind]) == 0
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("pictures"), [f"{n}.png" for n in range(5)], size=(40, 90))


def test_a_normalized_file_gets_what_its_metadata_says(exported, pictures):
    import json

    import onnxruntime

    session = onnxruntime.InferenceSession(str(exported / "normalized.onnx"))
    about = session.get_modelmeta().custom_metadata_map
    assert about["input"].startswith("float32 [batch, 3, 64, 32], (RGB - pixel_mean) / pixel_std")
    model = ReID.load(exported)
    pixels = torch.stack([model.network.resize(read) for read in map(_picture, pictures)]).float().numpy()
    mean, std = (np.array(json.loads(about[key]), np.float32).reshape(3, 1, 1) for key in ("pixel_mean", "pixel_std"))
    (features,) = session.run(["features"], {"images": (pixels - mean) / std})
    expected = model.embed(pictures)
    assert np.allclose(features, expected, rtol=1e-3, atol=1e-4 * abs(expected).max())


def _picture(path):
    from mdpr_fastreid.data.reading import read_image

    return read_image(str(path))


@pytest.mark.parametrize("kind", ["pixels", "normalized"])
def test_reid_loads_either_file_and_is_the_same_model(exported, pictures, kind):
    model, file = ReID.load(exported), ReID.load(exported / f"{kind}.onnx")
    file.about.check_same(model.about)
    assert file.size == (64, 32) and "in ONNX Runtime on CPU" in repr(file)
    expected = model.embed(pictures)
    assert np.allclose(file.embed(pictures), expected, rtol=1e-3, atol=1e-4 * abs(expected).max())


def test_an_exported_file_has_its_own_settings(exported, tmp_path):
    for options in ({"weights": "w.pth"}, {"precision": "bfloat16"}, {"folded": True}, {"overrides": ("A", "B")}):
        with pytest.raises(UsageError, match=f"has its own {next(iter(options))}"):
            ReID.load(exported / "pixels.onnx", **options)
    with pytest.raises(UsageError, match="no CUDA"):
        ReID.load(exported / "pixels.onnx", device="cuda")
    (tmp_path / "broken.onnx").write_bytes((exported / "pixels.onnx").read_bytes()[:2000])
    with pytest.raises(UsageError, match="ONNX Runtime cannot read it"):
        ReID.load(tmp_path / "broken.onnx")


def test_a_file_of_another_program_does_not_say_what_its_input_is(tmp_path):
    import onnx

    image = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["batch", 3, 8, 4])
    output = onnx.helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, ["batch", 3, 8, 4])
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["images"], ["features"])], "g", [image], [output]
    )
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8),
        tmp_path / "a.onnx",
    )
    with pytest.raises(UsageError, match="does not say what its input is"):
        ReID.load(tmp_path / "a.onnx")


def test_an_unknown_input_is_one_line(exported, tmp_path, capsys):
    words = ["export", "--config-file", str(exported / "config.yaml"), "--weights", str(exported / "model_best.pth")]
    assert cli.main([*words, "--format", "onnx", "--output", str(tmp_path / "a.onnx"), "--input", "bgr"]) == 2
    assert capsys.readouterr().err == "mdpr export: --input bgr: give one of pixels, normalized\n"


def test_boxmot_computes_the_same_embeddings(exported, pictures):
    """BoxMOT's own backend on the exported file: crops of a frame, compared with ours of the same crops."""
    pytest.importorskip("boxmot", reason="needs BoxMOT: pip install boxmot")
    from boxmot.reid.backends.onnx_backend import ONNXBackend

    backend = ONNXBackend(exported / "normalized.onnx", torch.device("cpu"), False)
    frame = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)  # BGR, as OpenCV reads
    boxes = np.array([[10, 20, 42, 84], [100, 50, 164, 178], [200, 10, 280, 190]], dtype=np.float32)
    theirs = backend.get_features(boxes, frame)
    model = ReID.load(exported)
    crops = backend.get_crops(boxes, frame)
    pixels = crops * torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1) + torch.tensor([123.675, 116.28, 103.53]).view(
        3, 1, 1
    )
    ours = model.embed(pixels)
    ours /= np.linalg.norm(ours, axis=1, keepdims=True)
    assert theirs.shape == (3, model.dim)
    assert np.abs(theirs - ours).max() < 1e-4
    # The first box has the size of the network's input, so that resizing is nobody's choice
    left, top, right, bottom = boxes[0].astype(int)
    assert model.distances(frame[top:bottom, left:right, ::-1].copy(), theirs[:1])[0, 0] < 1e-4
