"""Exported files compute the folded network's features, in another process and without this package."""

import hashlib
import importlib.util
import json
import subprocess
import sys

import pytest
import torch
from fastreid.modeling import build_model
from support.folding import with_random_batch_norms
from support.full_disk import fill_disk_at
from support.settings import small_config
from torch import nn

import mdpr_fastreid
from mdpr_fastreid.cli import main
from mdpr_fastreid.config import read_config
from mdpr_fastreid.config.own_code import import_modules
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.inference import fold, load
from mdpr_fastreid.inference.export import FORMATS, METADATA_FILE, export, outputs_of
from mdpr_fastreid.modeling import build_model as build_own_model

OVERRIDES = ["MODEL.MDPR.EMBEDDING_DIM", "8", "INPUT.SIZE_TEST", "[64,32]", "MODEL.MDPR.INFERENCE_FEATURES"]
OVERRIDES += ["('hard_parts','soft3','fusion')"]
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
FILES = {"onnx": "network.onnx", "torchscript": "network.ts", "torch-export": "network.pt2"}

READ = f"""
import json, sys, torch
folder, batches = sys.argv[1], torch.load(sys.argv[1] + "/batches.pt")
features, about = {{}}, {{}}
kept = {{"{METADATA_FILE}": ""}}
network = torch.jit.load(folder + "/network.ts", _extra_files=kept)
features["torchscript"] = [network(images) for images in batches]
about["torchscript"] = json.loads(kept["{METADATA_FILE}"])
kept = {{"{METADATA_FILE}": ""}}
network = torch.export.load(folder + "/network.pt2", extra_files=kept).module()
features["torch-export"] = [network(images) for images in batches]
about["torch-export"] = json.loads(kept["{METADATA_FILE}"])
try:
    import onnxruntime
    session = onnxruntime.InferenceSession(folder + "/network.onnx")
    features["onnx"] = [torch.from_numpy(session.run(["features"], {{"images": i.numpy()}})[0]) for i in batches]
    about["onnx"] = session.get_modelmeta().custom_metadata_map
except ImportError:
    pass
assert "mdpr_fastreid" not in sys.modules and "fastreid" not in sys.modules
torch.save((features, about), folder + "/read.pt")
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "model_final.pth"
    torch.manual_seed(0)
    model = with_random_batch_norms(build_model(small_config(*OVERRIDES)))
    torch.save({"model": model.state_dict(), "epoch": 1}, path)
    return path


@pytest.fixture(scope="module")
def config_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "small.yml"
    path.write_text(small_config().dump())
    return path


def command(config_file, weights, file_format, output, *more):
    words = ("--config-file", config_file, "--weights", weights, "--format", file_format, "--output", output)
    return main(["export", *map(str, words), *map(str, more)])


@pytest.fixture(scope="module")
def written(tmp_path_factory, config_file, weights):
    """The folder of the exported files, and what a process without this package reads and computes from them."""
    folder = tmp_path_factory.mktemp("exported")
    for file_format, name in FILES.items():
        if file_format != "onnx" or all(importlib.util.find_spec(package) for package in ONNX_PACKAGES):
            assert command(config_file, weights, file_format, folder / name, *OVERRIDES) == 0
    batches = [torch.rand(size, 3, 64, 32) * 255 for size in (1, 7)]
    torch.save(batches, folder / "batches.pt")
    subprocess.run([sys.executable, "-c", READ, str(folder)], check=True)
    return batches, *torch.load(folder / "read.pt")


def of(read: dict, file_format: str):
    if file_format not in read:
        pytest.skip("needs onnx, onnxscript and onnxruntime: pip install onnx onnxscript onnxruntime")
    return read[file_format]


@pytest.mark.parametrize("file_format", FILES)
def test_features_for_one_image_and_for_seven_equal_the_unfolded_models(file_format, written, config_file, weights):
    batches, features, _ = written
    model = load(config_file, weights, folded=False, overrides=tuple(OVERRIDES))
    for images, computed in zip(batches, of(features, file_format), strict=True):
        with torch.no_grad():
            torch.testing.assert_close(computed, model(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("file_format", FILES)
def test_the_file_says_what_it_takes_and_gives(file_format, written):
    about = of(written[2], file_format)
    assert json.loads(about["input_size"]) == [64, 32]
    assert json.loads(about["features"]) == {"hard_part0": 8, "hard_part1": 8, "soft3": 8, "fusion": 32}
    assert json.loads(about["pixel_mean"]) == pytest.approx([0.485 * 255, 0.456 * 255, 0.406 * 255])
    assert len(json.loads(about["pixel_std"])) == 3
    assert "RGB, 0 to 255" in about["input"]
    assert about["plugin_version"] == mdpr_fastreid.__version__
    assert len(about["weights_sha256"]) == hashlib.sha256().digest_size * 2


def test_the_checksum_is_that_of_the_weight_file(written, weights):
    assert written[2]["torchscript"]["weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_a_file_that_computes_something_else_is_refused_and_an_older_one_stays(
    tmp_path, monkeypatch, config_file, weights
):
    network = load(config_file, weights, overrides=tuple(OVERRIDES), winograd=False)
    other = (lambda network, images, about, file: file.write(b"x"), lambda _: lambda images: network(images) * 1.01)
    monkeypatch.setitem(FORMATS, "torchscript", other)
    (tmp_path / "n.ts").write_text("older")
    with pytest.raises(UsageError, match="differ from the network's by 1.0e-02"):
        export(network, tmp_path / "n.ts", "torchscript", (64, 32), {})
    assert (tmp_path / "n.ts").read_text() == "older"


def test_features_of_another_length_than_the_heads_say_are_refused(tmp_path, config_file, weights):
    network = load(config_file, weights, overrides=tuple(OVERRIDES), winograd=False)
    length = sum(network.features.values())
    network.features = {"features": length - 1}
    with pytest.raises(UsageError, match=rf"features {length} long, .* {length - 1} wide: .* feature_lengths\(\)"):
        export(network, tmp_path / "n.ts", "torchscript", (64, 32), {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("file_format", FILES)
def test_a_full_disk_is_one_line_in_every_format(tmp_path, capsys, config_file, weights, file_format):
    fill_disk_at(tmp_path / "full.pt2")
    assert command(config_file, weights, file_format, tmp_path / "full.pt2", *OVERRIDES) == 2
    assert "full.pt2 cannot be written: No space left on device" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("file_format", "name", "more", "message"),
    [
        ("caffe", "n.bin", (), "unknown format 'caffe': give one of onnx, torchscript, torch-export"),
        ("torchscript", "", (), "is a folder: give the path of a file"),
        ("torchscript", "taken.ts", (), "taken.ts exists already; --force replaces it"),
        ("torchscript", "taken.ts/n.ts", (), "cannot be written"),
        ("torch-export", "n.pth", (), "a name that ends in .pt2"),
        ("torchscript", "n.ts", ("INPUT.SIZE_TEST", "[0]"), r"has one image size, and INPUT.SIZE_TEST is \[0\]"),
        ("torchscript", "n.ts", ("INPUT.CROP.ENABLED", "True"), "give INPUT.CROP.ENABLED False after the options"),
        ("torchscript", "n.ts", ("MODEL.MDPR.EMBEDDING_DIM", "4"), "does not fit the model"),
        ("torchscript", "n.ts", ("MODEL.MDPR.EMBEDDINGDIM", "4"), "did you mean MODEL.MDPR.EMBEDDING_DIM"),
    ],
)
def test_one_line_for(tmp_path, capsys, config_file, weights, file_format, name, more, message):
    (tmp_path / "taken.ts").touch()
    assert command(config_file, weights, file_format, tmp_path / name, *more) == 2
    error = capsys.readouterr().err
    assert error.startswith("mdpr export: ")
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(error)
    assert (tmp_path / "taken.ts").read_bytes() == b""


def test_missing_packages_are_named_with_the_command_that_installs_them(tmp_path, capsys, monkeypatch, config_file):
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnxscript" else find(name))
    assert command(config_file, "absent.pth", "onnx", tmp_path / "n.onnx") == 2
    assert "needs onnxscript: pip install onnx onnxscript onnxruntime" in capsys.readouterr().err


def test_loading_gives_a_module_in_evaluation_mode_in_the_precision_asked_for(config_file, weights):
    images = torch.rand(2, 3, 64, 32) * 255
    folded = load(config_file, weights, overrides=tuple(OVERRIDES))
    half = load(config_file, weights, overrides=tuple(OVERRIDES), dtype=torch.bfloat16)
    assert isinstance(folded, nn.Module) and not folded.training
    assert half.network.backbone.trunk[1].conv1.weight.dtype == torch.bfloat16
    assert torch.cosine_similarity(folded(images), half(images)).min() > 0.999
    with pytest.raises(ValueError, match="only a folded network"):
        load(config_file, weights, folded=False, dtype=torch.bfloat16)


OWN_MODEL = '''
import torch
import torch.nn.functional as F
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import nn

from mdpr_fastreid.modeling.backbones import build_backbone, map_shapes, stage_outputs


@META_ARCH_REGISTRY.register()
class HalvesOfExport(nn.Module):
    """Embeddings of the upper and the lower half of a person, how visible each is, and which is brighter."""

    folds_from = "backbone"

    def __init__(self, cfg):
        super().__init__()
        self.backbone = stage_outputs(build_backbone(cfg))
        detail, *_, last = map_shapes(self.backbone, tuple(cfg.INPUT.SIZE_TEST))
        self.detail = nn.Sequential(nn.Conv2d(detail[0], 2, 1), nn.BatchNorm2d(2))
        self.register_buffer("pixel_mean", torch.full((1, 3, 1, 1), 120.0), False)
        self.register_buffer("pixel_std", torch.full((1, 3, 1, 1), 60.0), False)

    @property
    def device(self):
        return self.pixel_mean.device

    def forward(self, batch):
        images = batch["images"] if isinstance(batch, dict) else batch
        detail, *_, last = self.backbone((images - self.pixel_mean) / self.pixel_std)
        halves = torch.stack([half.mean(dim=(2, 3)) for half in last.chunk(2, dim=2)], dim=1)
        visibility = self.detail(detail).amax(dim=(2, 3)).sigmoid()
        return {"embeddings": F.normalize(halves, dim=2), "visibility": visibility, "brighter": halves.sum(2).argmax(1)}
'''


@pytest.fixture(scope="module")
def own_model(tmp_path_factory):
    """Folder with a module that registers a model of several outputs, its config, and its weights; and the model."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_of_export.py").write_text(OWN_MODEL)
    (folder / "own.yml").write_text(
        "MODEL:\n  META_ARCHITECTURE: HalvesOfExport\n  DEVICE: cpu\n"
        "  BACKBONE: {NAME: build_resnet_backbone, DEPTH: 18x, PRETRAIN: False}\nINPUT:\n  SIZE_TEST: [64, 32]\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        import_modules(["own_of_export"])
    torch.manual_seed(0)
    model = with_random_batch_norms(build_own_model(read_config(folder / "own.yml", parts=())))
    torch.save({"model": model.state_dict()}, folder / "own.pth")
    return folder, model


@pytest.mark.parametrize("file_format", FILES)
def test_a_model_of_several_outputs_is_written_with_all_of_them(file_format, own_model, tmp_path, monkeypatch, capsys):
    if file_format == "onnx" and not all(importlib.util.find_spec(package) for package in ONNX_PACKAGES):
        pytest.skip("needs onnx, onnxscript and onnxruntime")
    folder, model = own_model
    monkeypatch.chdir(folder)
    path = tmp_path / FILES[file_format]
    assert command("own.yml", "own.pth", file_format, path, "--import", "own_of_export") == 0
    shapes = "embeddings float32 [batch, 2, 512], visibility float32 [batch, 2], brighter int64 [batch]"
    told = capsys.readouterr().out
    assert f"output: {shapes}" in told and "features:" not in told
    run, about = reading(file_format, path)
    assert about["output"] == shapes
    assert json.loads(about["outputs"])["embeddings"] == {"shape": ["batch", 2, 512], "dtype": "float32"}
    for batch in (1, 7):
        images = torch.rand(batch, 3, 64, 32) * 255
        outputs = run(images)
        with torch.no_grad():
            expected = model(images)
        assert list(outputs) == list(expected) == ["embeddings", "visibility", "brighter"]
        for name, output in outputs.items():
            torch.testing.assert_close(output, expected[name], rtol=1e-4, atol=1e-4)


def reading(file_format, path):
    """What runs a file, and its metadata, as the pages of the project say to do it."""
    kept = {METADATA_FILE: ""}
    if file_format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path))
        names = [output.name for output in session.get_outputs()]

        def run(images):
            return dict(zip(names, map(torch.from_numpy, session.run(None, {"images": images.numpy()})), strict=True))

        return run, session.get_modelmeta().custom_metadata_map
    if file_format == "torchscript":
        network = torch.jit.load(path, _extra_files=kept)
    else:
        network = torch.export.load(path, extra_files=kept).module()
    return network, json.loads(kept[METADATA_FILE])


def test_folded_outputs_keep_their_types_and_a_single_output_is_called_features(own_model, config_file, weights):
    _, model = own_model
    folded, images = fold(model), torch.rand(2, 3, 64, 32) * 255
    assert folded.features == {}
    assert [value.dtype for value in folded(images).values()] == [torch.float32, torch.float32, torch.int64]
    network = load(config_file, weights, overrides=tuple(OVERRIDES), winograd=False)
    length = sum(network.features.values())
    assert outputs_of(network, (64, 32)) == {"features": {"shape": ["batch", length], "dtype": "float32"}}


def test_an_output_that_the_file_computes_otherwise_is_named(own_model, tmp_path, monkeypatch):
    _, model = own_model
    network = fold(model, winograd=False)
    read = {
        "visibility from the file differ .* by 1.0e-02": lambda o: o | {"visibility": o["visibility"] * 1.01},
        r"visibility is \[1, 1\] from the file": lambda o: o | {"visibility": o["visibility"][:, :1]},
        "the file gives visibility, and the network embeddings": lambda o: {"visibility": o["visibility"]},
    }
    for message, change in read.items():
        other = (
            lambda network, images, about, file: file.write(b"x"),
            lambda content, change=change: lambda images: change(network(images)),
        )
        monkeypatch.setitem(FORMATS, "torchscript", other)
        with pytest.raises(UsageError, match=message):
            export(network, tmp_path / "n.ts", "torchscript", (64, 32), {})


def test_code_that_was_not_imported_is_asked_for(own_model, tmp_path, capsys):
    (tmp_path / "unknown.yml").write_text("MODEL:\n  META_ARCHITECTURE: NobodysModel\n")
    assert command(tmp_path / "unknown.yml", "none.pth", "torchscript", tmp_path / "n.ts") == 2
    error = capsys.readouterr().err
    assert "NobodysModel" in error and "is imported with --import MODULE" in error
    assert command(tmp_path / "unknown.yml", "none.pth", "torchscript", tmp_path / "n.ts", "--import", "no_such") == 2
    assert "--import no_such: No module named" in capsys.readouterr().err
