"""Translation between the published names and ours."""

import pytest
import torch
from support import golden
from support.settings import SINGLE_BRANCH, small_model

from mdpr_fastreid.weights.published import from_official, settings, to_official


@pytest.fixture(scope="module", params=golden.CASES)
def published(request):
    return golden.load(request.param)


def test_translation_is_lossless_both_ways_and_keeps_the_published_order(published):
    ours = from_official(published.state_dict)
    back = to_official(ours)
    assert list(back) == list(published.state_dict)
    assert all(back[name] is value for name, value in published.state_dict.items())
    again = from_official(back)
    assert list(again) == list(ours) and all(again[name] is value for name, value in ours.items())


def test_settings_are_read_off_the_weights(published):
    cfg, spec = settings(from_official(published.state_dict)), published.spec
    assert spec["MODEL.BACKBONE.DEPTH"] == cfg.MODEL.BACKBONE.DEPTH
    assert spec["MODEL.BACKBONE.WITH_IBN"] == cfg.MODEL.BACKBONE.WITH_IBN
    assert spec["num_classes"] == cfg.MODEL.HEADS.NUM_CLASSES
    mdpr = cfg.MODEL.MDPR
    assert (spec["embedding_dim"], spec["parts"], spec["attention_maps"]) == (
        mdpr.EMBEDDING_DIM,
        mdpr.PARTS,
        mdpr.ATTENTION.MAPS,
    )
    assert (spec["attention_guided"], spec["fusion"], spec["mutual_distillation"]) == (
        mdpr.ATTENTION.GUIDED,
        mdpr.FUSION.ENABLED,
        mdpr.DISTILL.ENABLED,
    )


MISSING = [
    "generate.backbone.0.weight",
    "generate.backbone.4.0.conv1.weight",
    "generate.backbone_part.1.1.conv2.weight",
    "generate.embedding_hard_part.1.bn.running_var",
    "generate.attn_bap3.pool.p",
    "hard_part_head.0.weight",
    "attn_bap_feature4_head.bottleneck.0.running_mean",
]


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_entry_is_named_as_published(published, name):
    state_dict = {key: value for key, value in published.state_dict.items() if key != name}
    with pytest.raises(ValueError, match=rf"missing: {name}"):
        from_official(state_dict)


def test_a_missing_entry_of_ours_is_named_as_ours(published):
    ours = from_official(published.state_dict)
    del ours["heads.embedding_heads.soft4.weight"]
    with pytest.raises(ValueError, match="missing: heads.embedding_heads.soft4.weight"):
        to_official(ours)


@pytest.mark.parametrize(
    "name", ["generate.backbone.9.weight", "teacher.weight", "hard_global_head.weight_v", "predictor1.9.weight"]
)
def test_an_unknown_entry_is_named(published, name):
    with pytest.raises(ValueError, match=f"unknown.*{name}"):
        from_official(published.state_dict | {name: torch.zeros(1)})


def test_a_shape_that_does_not_fit_is_named_with_both_shapes(published):
    name = "attn_feature4_head.bottleneck.0.weight"
    with pytest.raises(ValueError, match=rf"{name} has shape \(3,\), expected \(\d+,\)"):
        from_official(published.state_dict | {name: torch.zeros(3)})


def test_a_model_the_published_code_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="missing: soft.refine3.conv.weight|not an MDPR"):
        to_official(small_model(*SINGLE_BRANCH["hard"]).state_dict())
    osnet = small_model("MODEL.BACKBONE.NAME", "build_osnet_backbone", "MODEL.BACKBONE.DEPTH", "x0_25")
    with pytest.raises(ValueError, match="not an MDPR on a ResNet"):
        to_official(osnet.state_dict())


def test_weights_of_a_trained_model_of_ours_survive_the_round_trip():
    model = small_model("MODEL.BACKBONE.DEPTH", "50x", "MODEL.BACKBONE.WITH_SE", True)
    twin = small_model("MODEL.BACKBONE.DEPTH", "50x", "MODEL.BACKBONE.WITH_SE", True)
    twin.load_state_dict(from_official(to_official(model.state_dict())))
    images = torch.rand(2, 3, 96, 48) * 255
    with torch.no_grad():
        torch.testing.assert_close(twin.eval()(images), model.eval()(images))
