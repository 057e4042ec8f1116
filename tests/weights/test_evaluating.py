"""Weights that are evaluated are those of the model, or there is no table."""

import pytest
import torch
from small_runs import logged_by_fastreid
from support.settings import SINGLE_BRANCH, small_model
from support.timm_families import timm_baseline_config, timm_config
from torch import nn

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.modeling import build_model
from mdpr_fastreid.weights import load_for_evaluation, sha256_of, write_weights
from mdpr_fastreid.weights.published import to_official

BOT = ["MODEL.META_ARCHITECTURE", "Baseline", "MODEL.HEADS.NAME", "EmbeddingHead", "MODEL.BACKBONE.FEAT_DIM", 512]


@pytest.fixture(scope="module")
def trained():
    return small_model()


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_bare_state_dict_as_mdpr_convert_writes_it_is_loaded(tmp_path, trained, suffix):
    write_weights(trained.state_dict(), tmp_path / f"weights.{suffix}")
    model = small_model()
    load_for_evaluation(model, str(tmp_path / f"weights.{suffix}"))
    assert all(torch.equal(value, trained.state_dict()[name]) for name, value in model.state_dict().items())


def test_a_classifier_for_other_identities_is_no_obstacle(tmp_path, trained):
    torch.save({"model": trained.state_dict(), "epoch": 3}, tmp_path / "model_final.pth")
    model = small_model("MODEL.HEADS.NUM_CLASSES", 9)
    load_for_evaluation(model, str(tmp_path / "model_final.pth"))
    images = torch.rand(2, 3, 96, 48) * 255
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(images), trained.eval()(images))


def test_weights_that_leave_a_part_random_are_refused(tmp_path, trained):
    path = tmp_path / "weights.pth"
    state_dict = trained.state_dict()
    del state_dict["hard.global_embedding.bn.running_mean"]
    for content, named in (
        ({"foo": torch.zeros(3)}, "backbone.trunk.conv1.weight.* and [0-9]+ more.*give the config"),
        (state_dict, "needs hard.global_embedding.bn.running_mean .*give the config"),
        (small_model("MODEL.MDPR.EMBEDDING_DIM", 8).state_dict(), "of another shape"),
    ):
        write_weights(content, path)
        with pytest.raises(UsageError, match=r"weights.pth \(.*\): does not fit the model, which needs") as raised:
            load_for_evaluation(small_model(), str(path))
        assert raised.match(named)


def assert_refused(tmp_path, trained, model, message):
    torch.save({"model": trained.state_dict()}, tmp_path / "model_final.pth")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(UsageError, match=message) as caught:
        load_for_evaluation(model, str(tmp_path / "model_final.pth"))
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


FURTHER_LAYERS = {
    "MODEL.BACKBONE.WITH_SE": (True, False, r"backbone\.(trunk\.)?layer1\.0\.se, .* and \d more"),
    "MODEL.HEADS.WITH_BNNECK": (True, False, r"heads\.(embedding_heads\.hard_global\.)?bottleneck"),
    "MODEL.HEADS.POOL_LAYER": ("GeneralizedMeanPoolingP", "GlobalAvgPool", r"heads\.(\w+\.){0,2}pool_layer"),
}


@pytest.mark.parametrize("method", [[], BOT], ids=["MDPR", "bag of tricks"])
@pytest.mark.parametrize("key", FURTHER_LAYERS)
def test_layers_that_the_model_does_not_have_are_refused(tmp_path, method, key):
    then, now, named = FURTHER_LAYERS[key]
    message = rf"was trained with {named}.*, which the model does not have; give the config .* \(config.yaml beside"
    assert_refused(tmp_path, small_model(*method, key, then), small_model(*method, key, now), message)


@pytest.mark.parametrize("parts", [2, 1])
def test_stripes_that_the_model_does_not_cut_are_refused(tmp_path, parts):
    models = (small_model("MODEL.MDPR.PARTS", number) for number in (3, parts))
    assert_refused(tmp_path, *models, r"was trained with hard\.stripe_embeddings\.\d")


@pytest.mark.parametrize("config", [timm_config, timm_baseline_config])
def test_a_last_norm_that_the_model_does_without_is_refused(tmp_path, config):
    models = (build_model(config("vit", "MODEL.BACKBONE.TIMM.NORM_MAPS", wanted)) for wanted in (True, False))
    assert_refused(tmp_path, *models, r"was trained with backbone\.(hard\.view4|norm)")


def test_non_local_blocks_that_the_model_does_not_have_are_refused(tmp_path):
    options = [*BOT, "MODEL.BACKBONE.DEPTH", "50x", "MODEL.BACKBONE.FEAT_DIM", 2048, "MODEL.BACKBONE.WITH_NL"]
    assert_refused(tmp_path, small_model(*options, True), small_model(*options, False), r"with backbone\.NL_2")


@pytest.mark.parametrize("config", [timm_config, timm_baseline_config])
def test_windows_of_another_size_are_no_classifiers(tmp_path, config):
    swin = ("embed_dim", 24, "depths", (2, 2, 2, 2), "num_heads", (1, 2, 4, 8), "window_size")
    models = (build_model(config("swin", "MODEL.BACKBONE.TIMM.ARGS", (*swin, size))) for size in (7, 4))
    assert_refused(tmp_path, *models, r"does not fit the model, which needs .*relative_position_bias_table")


SWITCHED_OFF = {
    "distillation": ["MODEL.MDPR.DISTILL.ENABLED", False],
    "fusion": ["MODEL.MDPR.FUSION.ENABLED", False, "MODEL.MDPR.INFERENCE_FEATURES", ("hard_global", "soft3")],
    "the soft branch": SINGLE_BRANCH["hard"],
    "the hard branch": SINGLE_BRANCH["soft"],
    "other features": ["MODEL.MDPR.INFERENCE_FEATURES", ("fusion",)],
}


@torch.no_grad()
@pytest.mark.parametrize("what", SWITCHED_OFF)
def test_what_the_config_switches_off_may_be_in_the_file(tmp_path, trained, what):
    torch.save({"model": trained.state_dict()}, tmp_path / "model_final.pth")
    model = small_model(*SWITCHED_OFF[what]).eval()
    load_for_evaluation(model, str(tmp_path / "model_final.pth"))
    images = torch.rand(2, 3, 96, 48) * 255
    lengths = trained.feature_lengths()
    whole = dict(zip(lengths, trained.eval()(images).split(list(lengths.values()), dim=1), strict=True))
    torch.testing.assert_close(model(images), torch.cat([whole[name] for name in model.feature_lengths()], dim=1))


def test_what_is_for_training_only_may_be_in_the_file(tmp_path):
    content = small_model(*BOT).state_dict()
    content |= {"memory.queue": torch.zeros(3, 4), "heads.center_loss.centers": torch.zeros(4, 512)}
    content |= {"backbone.layer1.0.attn_mask": torch.zeros(2), "pixel_mean": torch.zeros(1, 3, 1, 1)}
    torch.save({"model": content}, tmp_path / "model_final.pth")
    model = small_model(*BOT)
    load_for_evaluation(model, str(tmp_path / "model_final.pth"))
    assert torch.equal(model.heads.weight, content["heads.weight"])


@pytest.mark.parametrize(("further", "refused"), [("layer1.0.se.fc.0.weight", True), ("fc.weight", False)])
def test_of_somebody_elses_file_what_lies_beside_the_layers_may_be_left(tmp_path, further, refused):
    trained = small_model(*BOT)
    content = {f"base.{name}": value for name, value in trained.backbone.state_dict().items()}
    content |= {f"bottleneck.{name}": value for name, value in trained.heads.bottleneck[0].state_dict().items()}
    content |= {"classifier.weight": trained.heads.weight.detach(), "part1.weight": torch.zeros(2)}
    torch.save({**content, f"base.{further}": torch.zeros(2, 2)}, tmp_path / "theirs.pth")
    model = small_model(*BOT, "MODEL.HEADS.POOL_LAYER", "GlobalAvgPool")
    if refused:
        with pytest.raises(UsageError, match=r"was trained with backbone\.layer1\.0\.se, which"):
            load_for_evaluation(model, str(tmp_path / "theirs.pth"))
    else:
        load_for_evaluation(model, str(tmp_path / "theirs.pth"))
        assert torch.equal(model.backbone.conv1.weight, trained.backbone.conv1.weight)


def test_classifiers_have_to_fit_where_logits_are_read(tmp_path, trained):
    torch.save({"model": trained.state_dict()}, tmp_path / "model_final.pth")
    model = small_model("MODEL.HEADS.NUM_CLASSES", 9)
    with pytest.raises(UsageError, match=r"which needs heads\.embedding_heads\.hard_global\.weight"):
        load_for_evaluation(model, str(tmp_path / "model_final.pth"), with_classifiers=True)


def test_a_layer_that_reduces_features_is_no_classifier(tmp_path):
    def model(length):
        return nn.ModuleDict({"heads": nn.ModuleDict({"reduction": nn.Linear(8, length, bias=False)})})

    assert_refused(tmp_path, model(4), model(6), r"which needs heads\.reduction\.weight")


def test_the_published_names_are_translated(tmp_path, trained):
    torch.save({"state_dict": to_official(trained.state_dict())}, tmp_path / "official.pth")
    model = small_model()
    load_for_evaluation(model, str(tmp_path / "official.pth"))
    assert all(torch.equal(value, trained.state_dict()[name]) for name, value in model.state_dict().items())


def test_a_backbone_alone_is_not_evaluated(tmp_path, trained):
    names = trained.backbone.names_in_whole
    torch.save({names[own]: value for own, value in trained.backbone.state_dict().items()}, tmp_path / "resnet.pth")
    with pytest.raises(
        UsageError, match=r"resnet.pth \(backbone\): does not fit the model, which needs hard.global_emb"
    ):
        load_for_evaluation(small_model(), str(tmp_path / "resnet.pth"))


def test_a_pinned_hash_is_compared_and_the_files_own_is_logged(tmp_path, trained):
    path = str(tmp_path / "weights.pth")
    write_weights(trained.state_dict(), path)
    with logged_by_fastreid() as messages:
        load_for_evaluation(small_model(), path, sha256_of(path))
    assert messages[-1].endswith(f"MDPR, SHA-256 {sha256_of(path)}")
    with pytest.raises(UsageError, match="weights.pth: is another file than MODEL.WEIGHTS_SHA256 says"):
        load_for_evaluation(small_model(), path, "0" * 8)


@pytest.mark.parametrize("content", [[1, 2], {}, {"model": {}}, {"model": {"lr": 0.1}}, {"a": 1}])
def test_a_file_without_weights_is_named(tmp_path, content):
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(UsageError, match="odd.pth: holds no state dict"):
        load_for_evaluation(small_model(), str(tmp_path / "odd.pth"))
