"""A trained model as a user has it: loaded from what a run leaves, it embeds what an evaluation embeds."""

import numpy as np
import pytest
import torch
from PIL import Image
from support.image_trees import write_images
from support.saved_runs import saved_run

import mdpr_fastreid
from mdpr_fastreid import ReID
from mdpr_fastreid.config import read_config
from mdpr_fastreid.data.reading import DamagedImageError, read_image
from mdpr_fastreid.engine import Trainer
from mdpr_fastreid.engine.evaluation_network import evaluation_network
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.evaluation import blended_distances, collect_outputs, cosine_distances, evaluator_for
from mdpr_fastreid.inference.attention import attention_maps
from mdpr_fastreid.modeling import build_model
from mdpr_fastreid.weights import load_for_evaluation, sha256_of


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    saved_run(folder)
    return folder


@pytest.fixture(scope="module")
def model(run):
    return ReID.load(run)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    return write_images(folder, [f"{n:02d}.png" for n in range(13)], size=(40, 90))


def evaluated(run):
    """What ``train_net.py --eval-only`` collects of the run's test set, and the paths in its order."""
    cfg = read_config(run / "config.yaml", (), parts=("model", "evaluation"))
    network = build_model(cfg)
    load_for_evaluation(network, str(run / "model_best.pth"))
    loader, num_query = Trainer.build_test_loader(cfg, "SynthReIDTiny")
    network = evaluation_network(cfg, network)
    collected = collect_outputs(cfg, network, loader, evaluator_for(cfg, num_query, network))
    return collected, [item[0] for item in loader.dataset.img_items]


def test_embeddings_are_those_of_an_evaluation_bit_for_bit(run, model):
    collected, paths = evaluated(run)
    ours = model.embed(paths)
    assert ours.dtype == np.float32 and len(ours) == len(paths) == 232
    assert np.array_equal(ours, collected.outputs.numpy())
    assert len(np.unique(ours, axis=0)) > 200


@pytest.mark.parametrize("workers", [0, 3])
def test_threads_change_nothing_not_even_the_order(model, pictures, workers):
    assert np.array_equal(model.embed(pictures, workers=workers), model.embed(pictures))


def test_every_kind_of_input_is_the_same_picture(model, pictures):
    expected = model.embed(pictures)
    arrays = [np.asarray(Image.open(path)) for path in pictures]
    tensors = [torch.from_numpy(array.copy()).permute(2, 0, 1) for array in arrays]
    for given in (
        [str(path) for path in pictures],
        pictures[0].parent,
        (path for path in pictures),
        [Image.open(path) for path in pictures],
        arrays,
        np.stack(arrays),
        tensors,
        torch.stack(tensors),
        iter([arrays[0], pictures[1], *tensors[2:]]),
    ):
        assert np.array_equal(model.embed(given), expected), type(given)
    for swapped in ([array[..., ::-1] for array in arrays], [tensor.flip(0) for tensor in tensors]):
        assert np.array_equal(model.embed(swapped, bgr=True), expected)
        assert not np.allclose(model.embed(swapped), expected)


def test_tensors_in_floating_point_are_taken_as_they_are(model, pictures):
    resized = torch.stack([model.network.resize(read_image(str(path))) for path in pictures])
    expected = model.embed(pictures)
    assert np.array_equal(model.embed(resized.float()), expected)
    assert np.array_equal(model.embed([*resized[:5].float(), *resized[5:]]), expected)


def test_a_single_image_is_one_row(model, pictures):
    for one in (pictures[0], Image.open(pictures[0]), np.asarray(Image.open(pictures[0]))):
        assert model.embed(one).shape == (1, model.dim)


def test_a_generator_is_not_read_far_ahead(model, pictures):
    taken = []

    def generate():
        for number in range(200):
            taken.append(number)
            if number == 60:
                raise KeyboardInterrupt
            yield pictures[0]

    with pytest.raises(KeyboardInterrupt):
        model.embed(generate(), batch_size=4)
    assert taken[-1] == 60


def test_distances_and_ranks_are_those_of_the_evaluation(model, pictures):
    vectors = model.embed(pictures)
    query, gallery = vectors[:3], vectors[3:]
    expected = cosine_distances(query, gallery)
    assert np.array_equal(model.distances(query, gallery), expected)
    assert np.array_equal(model.distances(torch.from_numpy(query), list(pictures[3:])), expected) or np.allclose(
        model.distances(query, list(pictures[3:])), expected, atol=1e-5
    )
    ranked = model.rank(query, gallery, top=4)
    for row in range(3):
        order = sorted(range(10), key=lambda column: expected[row, column])[:4]
        assert ranked.indices[row].tolist() == order
        assert ranked.distances[row].tolist() == expected[row, order].tolist()
    reranked = model.rank(query, gallery, rerank=True)
    assert np.array_equal(np.sort(blended_distances(query, gallery), axis=1), reranked.distances)
    assert reranked.indices.shape == (3, 10)


def test_a_model_says_what_it_is(run, model):
    assert model.size == (64, 32)
    assert model.about.weights == sha256_of(run / "model_best.pth")
    assert model.about.source == str(run)
    assert f"MDPR of {run / 'model_best.pth'}, folded, float32 on cpu: images 64x32 -> {model.dim} numbers" in repr(
        model
    )
    assert "as trained" in repr(ReID.load(run, folded=False))


def test_a_config_and_its_weights_are_the_same_model(run, model, pictures):
    other = ReID.load(run / "config.yaml", run / "model_best.pth")
    assert other.about == model.about
    assert np.array_equal(other.embed(pictures), model.embed(pictures))


def test_precision_and_folding_are_chosen(run, model, pictures):
    expected = model.embed(pictures)
    unfolded = ReID.load(run, folded=False).embed(pictures)
    assert np.allclose(unfolded, expected, rtol=1e-3, atol=1e-4 * abs(expected).max())
    assert not np.array_equal(unfolded, expected)
    coarse = ReID.load(run, precision="bfloat16")
    assert "bfloat16" in repr(coarse)
    cosines = 1 - np.diag(coarse.distances(pictures, expected))
    assert cosines.min() > 0.98


@pytest.mark.parametrize("kept", ["model_best.pth", "model_final.pth", "last_checkpoint"])
def test_a_run_is_its_best_checkpoint_or_its_last(run, tmp_path, kept):
    (tmp_path / "config.yaml").write_bytes((run / "config.yaml").read_bytes())
    name = kept
    if kept == "last_checkpoint":
        name = "model_0003.pth"
        (tmp_path / kept).write_text(name)
    (tmp_path / name).write_bytes((run / "model_best.pth").read_bytes())
    if kept == "model_best.pth":
        (tmp_path / "model_final.pth").write_bytes(b"never read")
    assert ReID.load(tmp_path).about.source_weights == str(tmp_path / name)


@pytest.mark.parametrize("name", ["Baselines/sbs_synthreid_r18.yml"])
def test_models_of_fastreid_are_embedded_too(name, tmp_path, pictures):
    cfg = read_config(name, ("MODEL.DEVICE", "cpu", "MODEL.HEADS.NUM_CLASSES", "4"), parts=("model",))
    torch.manual_seed(0)
    trainer_model = build_model(cfg)
    torch.save({"model": trainer_model.state_dict()}, tmp_path / "w.pth")
    model = ReID.load(name, tmp_path / "w.pth", device="cpu")
    with torch.no_grad():
        pixels = torch.stack([model.network.resize(read_image(str(path))) for path in pictures[:2]])
        expected = trainer_model.eval()({"images": pixels.float()})
    ours = model.embed(pictures[:2])
    assert np.allclose(ours, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_attention_is_that_of_the_network_as_it_was_trained(run, model, pictures):
    maps = model.attention(pictures[0])
    assert list(maps)[:1] == ["attention4_1"] and list(maps)[-1:] == ["stripes"]
    unfolded = ReID.load(run, folded=False)
    pixels = unfolded.network.resize(read_image(str(pictures[0])))[None].float()
    expected = attention_maps(unfolded.network.module, pixels)
    assert all(np.array_equal(maps[name], values[0]) for name, values in expected.items())
    assert all(one.ndim == 2 and 0 <= one.min() <= one.max() <= 1 for one in maps.values())
    refused(lambda: model.attention(pictures[:2]), "one image at a time, got 2")


def refused(action, *words):
    with pytest.raises(UsageError) as caught:
        action()
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


def test_what_is_no_model_is_one_line(run, tmp_path):
    refused(lambda: ReID.load(tmp_path), str(tmp_path), "config.yaml")
    (tmp_path / "config.yaml").write_bytes((run / "config.yaml").read_bytes())
    refused(lambda: ReID.load(tmp_path), "has no weights", "model_best.pth")
    (tmp_path / "last_checkpoint").write_text("../../etc/passwd")
    refused(lambda: ReID.load(tmp_path), "has no weights")
    refused(lambda: ReID.load(run / "config.yaml"), "give the trained weights")
    refused(lambda: ReID.load(tmp_path / "none.onnx"), "no such file")
    refused(lambda: ReID.load(run, device="cuda:99"), "cuda:99")
    refused(lambda: ReID.load(run, device="nowhere"), "nowhere")
    refused(lambda: ReID.load(run, precision="float8"), "float8", "bfloat16")
    refused(lambda: ReID.load("no/such.yml", "w.pth"), "no/such.yml")


def test_what_is_no_image_is_one_line(model, pictures, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(pictures[0].read_bytes()[:200])
    with pytest.raises(DamagedImageError, match="broken.jpg: cannot be read as an image"):
        model.embed([pictures[0], broken])
    (tmp_path / "folder").mkdir()
    refused(lambda: model.embed(tmp_path / "folder"), "holds no images")
    refused(lambda: model.embed([]), "no image")
    refused(lambda: model.embed(3), "int")
    refused(lambda: model.embed([3.5]), "float")
    refused(lambda: model.embed(np.zeros((4, 4, 3))), "uint8", "float64")
    refused(lambda: model.embed(np.zeros((4, 4, 4), np.uint8)), "[H, W, 3]")
    refused(lambda: model.embed(torch.zeros(3, 5, 5)), "64x32", "5x5")
    refused(lambda: model.embed(torch.zeros(3, 5, 5, dtype=torch.int64)), "int64")
    refused(lambda: model.embed(Image.new("F", (4, 4))), "mode F")
    refused(lambda: model.embed(pictures, batch_size=0), "batch_size")
    refused(lambda: model.embed(pictures, workers=-1), "workers")
    refused(lambda: model.rank(pictures, pictures, top=0), "top")
    with pytest.raises(ValueError, match="7 long"):
        model.distances(np.zeros((2, 7), np.float32), pictures)


def test_floats_that_are_no_pixels_are_refused(model):
    size = (3, *model.size)
    for wrong, words in (
        (torch.rand(size), "times 255"),
        (torch.full(size, torch.nan), "nan"),
        (-torch.ones(size), "-1"),
    ):
        refused(lambda wrong=wrong: model.embed(wrong), "pixels from 0 to 255", words)
    assert model.embed(torch.zeros(size)).shape == (1, model.dim)


def test_views_of_vectors_are_taken_and_what_is_none_is_named(model, pictures):
    vectors = model.embed(pictures)
    read_only = vectors.copy()
    read_only.flags.writeable = False
    backwards = model.distances(read_only[:2], vectors[::-1])[:, ::-1]
    # A product of matrices may sum other rows in another order
    np.testing.assert_allclose(backwards, model.distances(vectors[:2], vectors), rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match=r"vector\[None\]"):
        model.rank(vectors[0], vectors)
    refused(lambda: model.rank(vectors, "gallery.npz"), "Embeddings.read", "open_store")


def test_what_load_does_not_take_says_what_it_takes(run):
    refused(lambda: ReID.load("nope"), "there is no nope", "a run's folder")
    refused(lambda: ReID.load(run / "model_best.pth"), "are weights", "config first")
    refused(lambda: ReID.load(None), "NoneType is no trained model")
    refused(lambda: ReID.load(""), "a run's folder")
    refused(lambda: ReID.load(run, overrides="TEST.METRIC euclidean"), "a list")


def test_the_package_has_no_other_hidden_names():
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        mdpr_fastreid.nothing_of_the_kind  # noqa: B018
