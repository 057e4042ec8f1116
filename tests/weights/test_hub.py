"""Pretrained weights of timm's models: the file that timm names, found, fetched, or one line."""

import sys

import pytest
import torch
from small_runs import logged_by_fastreid
from support.offline import go_offline
from support.settings import small_config
from timm.models import get_pretrained_cfg

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.modeling.backbones import build_backbone
from mdpr_fastreid.weights import write_weights
from mdpr_fastreid.weights.hub import file_of_timm

MODEL = "convnext_atto"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    return go_offline(monkeypatch, tmp_path / "home") / "checkpoints"


def config(model, *overrides):
    settings = ["MODEL.BACKBONE.NAME", "build_timm_backbone", "MODEL.BACKBONE.TIMM.MODEL", model]
    return small_config(*settings, "MODEL.BACKBONE.PRETRAIN", True, *overrides)


def test_a_file_that_cannot_be_fetched_is_one_line_with_its_hub_id_and_the_way_out(cache):
    with pytest.raises(UsageError) as caught:
        build_backbone(config(MODEL))
    message = str(caught.value)
    hub_id = get_pretrained_cfg(MODEL).hf_hub_id
    assert hub_id.startswith("timm/convnext_atto.")
    assert f"https://huggingface.co/{hub_id}/resolve/main/model.safetensors" in message
    assert str(cache) in message
    assert "MODEL.BACKBONE.PRETRAIN False" in message
    assert "\n" not in message


@pytest.mark.parametrize("model", [MODEL, "convnext_atto.d2_in1k"])
def test_a_file_in_the_cache_is_loaded(cache, model):
    torch.manual_seed(1)
    source = build_backbone(config(MODEL, "MODEL.BACKBONE.PRETRAIN", False))
    classifier = {"head.fc.weight": torch.zeros(1000, 320), "head.fc.bias": torch.zeros(1000)}
    write_weights({**source.state_dict(), **classifier}, cache / "timm_convnext_atto.d2_in1k_model.safetensors")
    torch.manual_seed(2)
    with logged_by_fastreid() as messages:
        started = build_backbone(config(model))
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in started.state_dict().items())
    assert "ConvNeXt" in messages[0]
    assert "left in the file: head (2)" in messages[0]


def test_a_tag_says_which_of_several_files():
    url, name = file_of_timm("vit_base_patch16_clip_quickgelu_224.openai")
    assert url == "https://huggingface.co/timm/vit_base_patch16_clip_224.openai/resolve/main/model.safetensors"
    assert name == "timm_vit_base_patch16_clip_224.openai_model.safetensors"
    with pytest.raises(UsageError, match=r"TIMM\.MODEL convnext_atto\.no_such: Invalid pretrained tag"):
        file_of_timm("convnext_atto.no_such")


def test_a_file_that_is_not_at_the_hub_has_its_address(monkeypatch):
    known = get_pretrained_cfg(MODEL)
    elsewhere = type(known)(url="https://example.org/models/some-12345678.pth")
    monkeypatch.setattr("timm.models.get_pretrained_cfg", lambda model: elsewhere)
    assert file_of_timm(MODEL) == ("https://example.org/models/some-12345678.pth", "some-12345678.pth")


@pytest.mark.parametrize("model", ["solider_swin_tiny", "transreid_ssl_ics_small"])
def test_models_of_our_own_ask_for_a_file(cache, model):
    with pytest.raises(UsageError, match=f"no weights of {model} can be fetched: give MODEL.BACKBONE.PRETRAIN_PATH"):
        build_backbone(config(model))


def test_a_model_that_nobody_knows_is_said_before_its_weights_are_looked_for(cache):
    with pytest.raises(UsageError, match="convnext_ato is no model of timm .*; did you mean convnext_atto"):
        build_backbone(config("convnext_ato"))


def test_without_timm_the_file_is_not_known(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm.models", None)
    with pytest.raises(UsageError, match=r"needs timm: pip install 'mdpr-fastreid\[timm\]'"):
        file_of_timm(MODEL)


@pytest.mark.parametrize(("mean", "warns"), [((0.5, 0.5, 0.5), True), ((0.485, 0.456, 0.406), False)])
def test_weights_of_another_normalisation_than_the_configs_are_warned_of(cache, monkeypatch, mean, warns):
    source = build_backbone(config(MODEL, "MODEL.BACKBONE.PRETRAIN", False))
    write_weights(source.state_dict(), cache / "timm_convnext_atto.d2_in1k_model.safetensors")
    known = get_pretrained_cfg(MODEL)
    other = type(known)(hf_hub_id=known.hf_hub_id, mean=mean)
    monkeypatch.setattr("timm.models.get_pretrained_cfg", lambda model: other)
    with logged_by_fastreid() as messages:
        build_backbone(config(MODEL))
    said = [message for message in messages if "were trained with MODEL.PIXEL_MEAN [127.5, 127.5, 127.5]" in message]
    assert len(said) == warns
