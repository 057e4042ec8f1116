"""Camera embeddings: values of the published class, what they reach, and batches and files that do not fit them."""

import copy

import pytest
import torch
from fastreid.utils.events import EventStorage
from support.folding import with_random_batch_norms
from support.golden_transformers import VIT, assert_golden, backbone, images, loaded, weights
from support.timm_families import METHODS, SIZE, timm_baseline_config, timm_config
from support.transformer_files import CLIPS, FILES, TRANSREID
from support.weight_kinds import under

from mdpr_fastreid.engine.optimizers import build_optimizer
from mdpr_fastreid.errors import SettingsError, UsageError
from mdpr_fastreid.evaluation.inference import FlipAverage
from mdpr_fastreid.inference import fold
from mdpr_fastreid.inference.attention import attention_maps
from mdpr_fastreid.inference.export import export
from mdpr_fastreid.modeling import build_model
from mdpr_fastreid.modeling.backbones import build_backbone, split_stages
from mdpr_fastreid.modeling.cameras import CameraImages
from mdpr_fastreid.weights import load_backbone, load_for_evaluation

CAMERAS, WITHOUT = "MODEL.BACKBONE.TIMM.CAMERAS", "MODEL.BACKBONE.TIMM.WITHOUT_CAMERA"
SMALL = {"embed_dim": 48, "depth": 4, "num_heads": 3}
PUBLISHED = (96, 48)
SIE = VIT["transreid SIE, 3 cameras, coefficient 3"]
CLIP = "vit_base_patch16_clip_quickgelu_224"
BATCH = {
    "images": torch.rand(8, 3, *SIZE, generator=torch.Generator().manual_seed(0)) * 255,
    "targets": torch.arange(8) // 2,
    "camids": torch.tensor([0, 2, 0, 2, 2, 0, 0, 2]),
}


def model_of(method, family="vit", *overrides, cameras=3):
    """A small model that tells cameras apart, all of them visibly."""
    torch.manual_seed(0)
    model = build_model(METHODS[method](family, CAMERAS, cameras, *overrides))
    table = next(value for name, value in model.named_parameters() if name.endswith("sie_embed"))
    torch.nn.init.normal_(table, std=0.3)
    return with_random_batch_norms(model)


@torch.no_grad()
def test_tokens_are_those_of_the_published_class(tmp_path):
    model = backbone("vit_base_patch16_224", SMALL, PUBLISHED, CAMERAS, 3)
    loaded(model, under("base.", weights(SIE["state_dict"])), tmp_path)
    seen = CameraImages(images([2, 3, *PUBLISHED]), torch.tensor(SIE["config"]["cameras"]))
    assert_golden(model.forward_features(seen), SIE["tokens"])
    assert_golden(model(seen)[:, :, 0, 0], SIE["output"])


@pytest.mark.parametrize("scale", [-1.0, 0.5])
@pytest.mark.parametrize(("name", "moved"), [("vit_base_patch16_224", "pos_embed"), (CLIP, "cls_token")])
@torch.no_grad()
def test_a_camera_moves_every_token_of_a_vit_and_the_class_token_of_clip(name, moved, scale):
    with_cameras = backbone(name, SMALL, PUBLISHED, CAMERAS, 4, "MODEL.BACKBONE.TIMM.CAMERA_SCALE", scale)
    published = {"pos_embed": 3.0, "cls_token": 1.0}[moved]
    without = backbone(name, SMALL, PUBLISHED)
    state = with_cameras.state_dict()
    row = state.pop("sie_embed")[2] * (published if scale < 0 else scale)
    state[moved] = state[moved] + row  # of [1, N, C] or [1, 1, C]
    without.load_state_dict(state)
    seen = CameraImages(images([2, 3, *PUBLISHED]), torch.tensor([2, 2]))
    torch.testing.assert_close(with_cameras(seen), without(seen.images), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("family", ["vit", "deit3", "clip", "dinov2"])
@torch.no_grad()
def test_the_cut_model_gives_what_the_whole_one_does(family):
    cfg = timm_config(family, CAMERAS, 3, "MODEL.BACKBONE.TIMM.CLASS_TOKEN", "drop")
    whole = build_backbone(cfg).double().eval()
    seen = CameraImages(torch.randn(3, 3, *SIZE, dtype=torch.float64), torch.tensor([2, 0, 1]))
    expected = whole(seen)
    trunk, stage3, stage4, _, view4 = copy.deepcopy(split_stages(whole))
    assert torch.equal(view4(stage4(stage3(trunk(seen)))), expected)
    other = whole(seen._replace(cameras=torch.tensor([1, 0, 1])))
    assert not torch.equal(other[0], expected[0])
    assert torch.equal(other[1:], expected[1:])


@pytest.mark.parametrize("method", METHODS)
def test_gradients_reach_the_rows_of_the_cameras_in_the_batch_and_no_others(method):
    model = model_of(method).train()
    with EventStorage():
        losses = model({name: value.clone() for name, value in BATCH.items()})
    sum(losses.values()).backward()
    (table,) = [p for name, p in model.named_parameters() if name.endswith("sie_embed")]
    assert table.grad.flatten(1).any(dim=1).tolist() == [True, False, True]
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("method", METHODS)
@torch.no_grad()
def test_evaluation_folded_and_flipped_sees_the_cameras_of_the_batch(method):
    model = model_of(method).double()
    batch = {**BATCH, "images": BATCH["images"].double()}
    features = model(batch)
    for row in (0, 5):  # an image at a time, under its own camera
        one = {name: value[row : row + 1] for name, value in batch.items()}
        torch.testing.assert_close(model(one)[0], features[row], rtol=1e-9, atol=1e-9)
    assert not torch.allclose(model({**batch, "camids": 2 - batch["camids"]}), features, rtol=1e-3)
    torch.testing.assert_close(fold(model, torch.float64)(batch), features, rtol=1e-9, atol=1e-9)
    mirrored = model({**batch, "images": batch["images"].flip(-1)})
    torch.testing.assert_close(FlipAverage(model)(batch), (features + mirrored) / 2, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_attention_is_of_the_image_under_its_camera():
    model = model_of("MDPR")
    maps = [attention_maps(model, {**BATCH, "camids": torch.full((8,), camera)}) for camera in (0, 2)]
    assert (maps[0]["attention4_1"] != maps[1]["attention4_1"]).any()


@pytest.mark.parametrize("method", METHODS)
@torch.no_grad()
def test_images_without_a_camera_are_one_line_or_get_the_mean_of_all(method, tmp_path):
    model = model_of(method)
    for images_alone in (BATCH["images"], {"images": BATCH["images"]}):
        with pytest.raises(UsageError, match=r"CAMERAS 3\), and these images come without theirs.*WITHOUT_CAMERA mean"):
            model(images_alone)
    with pytest.raises(UsageError, match="as exported files and ReID take them"):
        export(fold(model, winograd=False), tmp_path / "network.ts", "torchscript", SIZE, {})
    mean = model_of(method, "vit", WITHOUT, "mean")
    table = next(value for name, value in mean.named_parameters() if name.endswith("sie_embed"))
    found = mean(BATCH["images"])
    export(fold(mean, winograd=False), tmp_path / "network.ts", "torchscript", SIZE, {})
    table.copy_(table.mean(dim=0, keepdim=True).expand_as(table).clone())
    torch.testing.assert_close(mean(BATCH), found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("wrong", [3, -1])
def test_a_camera_without_an_embedding_is_one_line(wrong):
    batch = {**BATCH, "camids": torch.tensor([0, 1, 2, 0, 1, 2, 0, wrong])}
    for training in (False, True):
        with pytest.raises(UsageError, match=f"has camera {wrong} in camids, .* of 3 cameras, 0 to 2"):
            model_of("Baseline").train(training)(batch)


def test_a_backbone_without_cameras_is_called_as_before():
    model = build_model(timm_baseline_config("vit"))
    assert type(model).__mro__[1].__name__ != "TellsCamerasApart"
    assert isinstance(model.preprocess_image(BATCH), torch.Tensor)
    assert not any(name.endswith("sie_embed") for name in model.state_dict())


@pytest.mark.parametrize("family", ["swin", "eva02", "hiera", "convnext"])
def test_a_family_without_a_place_for_cameras_is_refused(family):
    with pytest.raises(SettingsError, match=r"CAMERAS 3: .* has no place for camera embeddings"):
        build_model(timm_config(family, CAMERAS, 3))


@pytest.mark.parametrize("method", METHODS)
def test_embeddings_learn_as_the_stem_does_and_do_not_decay_with_vectors(method):
    cfg = METHODS[method]("vit", CAMERAS, 3, "SOLVER.LAYER_DECAY", 0.5, "SOLVER.DECAY_MATRICES_ONLY", True)
    model = build_model(cfg)
    _, groups = build_optimizer(cfg, model, contiguous=False)
    names = {parameter: name for name, parameter in model.named_parameters()}
    of = {names[group["params"][0]].rpartition(".")[2]: group for group in groups}
    assert of["sie_embed"]["lr"] == cfg.SOLVER.BASE_LR * 0.5**4
    assert of["sie_embed"]["weight_decay"] == 0


def saved(path, content):
    torch.save(content, path)
    return path


def published_files():
    """By kind: a model's name and arguments, and a file with embeddings of three cameras, each its number."""
    numbers = torch.arange(3.0)[:, None].expand(3, 48)
    reid = {**under("base.", TRANSREID), "base.sie_embed": numbers[:, None]}
    clip = {**under("image_encoder.", CLIPS), "cv_embed": numbers}
    return {"TransReID": (FILES["TransReID"][0], reid), "CLIP-ReID": (FILES["CLIP-ReID"][0], clip)}


@pytest.mark.parametrize("kind", ["TransReID", "CLIP-ReID"])
def test_published_embeddings_are_taken_and_those_of_other_cameras_refused(tmp_path, kind):
    model, content = published_files()[kind]
    path = saved(tmp_path / "weights.pth", content)
    built = backbone(*model, PUBLISHED, CAMERAS, 3)
    fit = load_backbone(built, path)
    assert fit.missing == []
    assert built.sie_embed[:, 0, 5].tolist() == [0, 1, 2]
    with pytest.raises(UsageError, match="has embeddings of 3 cameras, and the model of 4: set .*CAMERAS to 3$"):
        load_backbone(backbone(*model, PUBLISHED, CAMERAS, 4), path)


def test_weights_with_cameras_are_not_evaluated_without(tmp_path):
    model = model_of("Baseline")
    path = saved(tmp_path / "weights.pth", {"model": model.state_dict()})
    load_for_evaluation(model_of("Baseline"), str(path))
    with pytest.raises(UsageError, match=r"trained with embeddings of cameras \(backbone.sie_embed\), .* has none"):
        load_for_evaluation(build_model(timm_baseline_config("vit")), str(path))
    with pytest.raises(UsageError, match="has embeddings of 3 cameras, and the model of 6"):
        load_for_evaluation(model_of("Baseline", cameras=6), str(path))
