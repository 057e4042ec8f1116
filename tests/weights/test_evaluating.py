"""Weights that are evaluated are those of the model, or there is no table."""

import pytest
import torch
from small_runs import logged_by_fastreid
from support.settings import small_model

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.weights import load_for_evaluation, sha256_of, write_weights
from mdpr_fastreid.weights.published import to_official


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
