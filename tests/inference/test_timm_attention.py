"""Where models on timm's backbones look: MDPR's maps on tokens and windows, and the activation of others."""

import numpy as np
import pytest
import torch
from support.timm_families import SIZE, timm_baseline_config, timm_config

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.inference.attention import attention_maps
from mdpr_fastreid.modeling import build_model

IMAGES = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(0)) * 255


@pytest.mark.parametrize(("family", "grid"), [("vit", (4, 2)), ("swin", (4, 2)), ("hiera", (4, 2))])
def test_mdpr_has_its_maps_at_the_size_of_stage_3(family, grid):
    model = build_model(timm_config(family)).eval()
    maps = attention_maps(model, IMAGES)
    assert list(maps) == ["attention4_1", "attention4_2", "attention3_1", "attention3_2", "stripes"]
    for name, values in maps.items():
        assert values.shape == (2, *grid), name
        assert values.dtype == np.float32 and values.min() >= 0 and values.max() <= 1, name
    with torch.no_grad():
        own = model.attention_maps(IMAGES)
    np.testing.assert_allclose(maps["attention3_1"], own.granularity3[:, 0], atol=1e-6)


@pytest.mark.parametrize("family", ["swin", "vit"])
def test_other_models_have_the_activation_of_their_map(family):
    overrides = ["MODEL.BACKBONE.TIMM.CLASS_TOKEN", "drop"] if family == "vit" else []
    model = build_model(timm_baseline_config(family, *overrides)).eval()
    (values,) = attention_maps(model, IMAGES).values()
    with torch.no_grad():
        norms = model.backbone(model.preprocess_image(IMAGES)).pow(2).sum(1).sqrt().numpy()
    np.testing.assert_allclose(values, norms / norms.max((1, 2), keepdims=True), atol=1e-5)


def test_a_class_token_alone_is_no_map_to_look_at():
    model = build_model(timm_baseline_config("vit")).eval()
    with pytest.raises(UsageError, match="has nothing to look at"):
        attention_maps(model, IMAGES)
