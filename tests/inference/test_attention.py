"""Maps of where a model looks are those of its branches, in [0, 1], and leave the model as it is."""

import numpy as np
import pytest
import torch
from fastreid.config import get_cfg
from fastreid.modeling import build_model
from support.settings import SINGLE_BRANCH, small_model
from torch import nn

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.inference import fold
from mdpr_fastreid.inference.attention import attention_maps

IMAGES = torch.rand(2, 3, 96, 48, generator=torch.Generator().manual_seed(0)) * 255


def stock_model(architecture="Baseline", depth="18x", width=512):
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.META_ARCHITECTURE", architecture, "MODEL.BACKBONE.DEPTH", depth, "MODEL.DEVICE", "cpu"])
    cfg.MODEL.HEADS.NUM_CLASSES, cfg.MODEL.BACKBONE.FEAT_DIM = 4, width
    return build_model(cfg)


def check_range(maps):
    for name, values in maps.items():
        assert values.dtype == np.float32 and values.ndim == 3 and len(values) == len(IMAGES), name
        assert values.min() >= 0 and values.max() <= 1, name


def test_mdpr_has_both_granularities_and_its_stripes():
    model = small_model().eval()
    maps = attention_maps(model, IMAGES)
    count = model.soft.attention_maker4.bn.num_features - 1
    expected = [f"attention{stage}_{number}" for stage in (4, 3) for number in range(1, count + 1)]
    assert list(maps) == [*expected, "stripes"]
    check_range(maps)
    with torch.no_grad():
        own = model.attention_maps(IMAGES)
    for stage, granularity in ((4, own.granularity4), (3, own.granularity3)):
        for number in range(count):
            np.testing.assert_allclose(maps[f"attention{stage}_{number + 1}"], granularity[:, number], atol=1e-6)


def test_a_stripe_is_the_norm_of_its_embedded_map_scaled_by_its_largest():
    model = small_model().eval()
    stripes = attention_maps(model, IMAGES)["stripes"]
    with torch.no_grad():
        features = model.backbone(model.preprocess_image(IMAGES)).hard4
        top = 0
        embeddings = model.hard.stripe_embeddings
        for embed, part in zip(embeddings, features.tensor_split(len(embeddings), dim=2), strict=True):
            embedded = embed(part)
            for image in range(len(IMAGES)):
                norms = embedded[image].pow(2).sum(dim=0).sqrt().numpy()
                rows = stripes[image, top : top + norms.shape[0]]
                np.testing.assert_allclose(rows, norms / norms.max(), atol=1e-5)
                assert rows.max() == pytest.approx(1)
            top += part.size(2)
    assert top == stripes.shape[1]


@pytest.mark.parametrize(("branch", "kind"), [("hard", "stripes"), ("soft", "attention")])
def test_a_branch_that_is_missing_is_left_out(branch, kind):
    maps = attention_maps(small_model(*SINGLE_BRANCH[branch]), IMAGES)
    assert maps and all(name.startswith(kind) for name in maps)


def test_other_models_have_the_activation_of_the_map_before_the_head():
    model = stock_model().eval()
    maps = attention_maps(model, IMAGES)
    assert list(maps) == ["activation"]
    with torch.no_grad():
        norms = model.backbone(model.preprocess_image(IMAGES)).pow(2).sum(dim=1).sqrt()
    for image in range(len(IMAGES)):
        np.testing.assert_allclose(maps["activation"][image], norms[image] / norms[image].max(), atol=1e-5)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_folded_stock_model_has_the_same_activation():
    model = stock_model().eval()
    plain, folded = attention_maps(model, IMAGES), attention_maps(fold(model), IMAGES)
    np.testing.assert_allclose(folded["activation"], plain["activation"], atol=1e-3)


def test_mgn_has_the_activation_of_each_head_that_gets_the_whole_person():
    maps = attention_maps(stock_model("MGN", depth="50x", width=2048), IMAGES)
    assert list(maps) == ["activation_b1_head", "activation_b2_head", "activation_b3_head"]
    check_range(maps)


def test_the_mode_of_every_module_and_the_batch_norms_stay_as_they_were():
    model = small_model().train()
    model.heads.eval()
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    attention_maps(model, IMAGES)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_folded_mdpr_says_that_its_attention_is_gone():
    with pytest.raises(UsageError, match=r"a folded MDPR has no attention maps any more: .* folded=False"):
        attention_maps(fold(small_model()), IMAGES)


def test_a_model_without_feature_maps_is_refused():
    with pytest.raises(UsageError, match="Flatten has nothing to look at"):
        attention_maps(nn.Flatten(), IMAGES)
