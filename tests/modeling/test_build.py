"""Models of any architecture are built on the device that is available; what does not fit together is refused."""

import pytest
import torch
from fastreid.config import CfgNode
from fastreid.engine import DefaultPredictor
from fastreid.modeling import META_ARCH_REGISTRY
from small_runs import logged_by_fastreid
from small_runs import small_config as stock_config
from support.settings import small_config, small_model

from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.modeling import MDPR, build_model
from mdpr_fastreid.modeling import build as building
from mdpr_fastreid.modeling.fitting import check_heads

without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="it shows what happens without CUDA")


def cuda_config(tmp_path):
    return stock_config(tmp_path, "MODEL.DEVICE", "cuda", "MODEL.HEADS.NUM_CLASSES", 4)


@without_cuda
def test_models_are_built_on_the_cpu_with_one_warning(tmp_path):
    building._warn_once.cache_clear()
    cfg = cuda_config(tmp_path)
    cfg.freeze()
    with logged_by_fastreid() as messages:
        devices = {build_model(cfg).device.type for _ in range(2)}
    assert devices == {"cpu"}
    assert [message for message in messages if "no CUDA device" in message] == [
        "MODEL.DEVICE is cuda, but PyTorch finds no CUDA device here: using the CPU"
    ]
    assert cfg.MODEL.DEVICE == "cuda"


@without_cuda
def test_the_predictor_runs_on_the_cpu(tmp_path):
    features = DefaultPredictor(cuda_config(tmp_path))(torch.rand(2, 3, 32, 16) * 255)
    assert features.shape == (2, 16)
    assert features.device.type == "cpu"


def test_a_config_that_says_cpu_is_left_alone(tmp_path):
    cfg = stock_config(tmp_path)
    assert building.on_available_device(cfg) is cfg


def assert_refused(cfg, match):
    for build in (build_model, META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)):
        with pytest.raises(SettingsError, match=match) as raised:
            build(cfg)
        assert "\n" not in str(raised.value)


def test_mdpr_with_the_head_of_another_architecture_is_refused():
    cfg = small_config("MODEL.HEADS.NAME", "EmbeddingHead")
    assert_refused(cfg, "META_ARCHITECTURE MDPR needs MODEL.HEADS.NAME MDPRHead.* EmbeddingHead does not")


@pytest.mark.parametrize("architecture", ["Baseline", "MGN", "MoCo"])
def test_mdprs_head_in_another_architecture_is_refused(architecture):
    options = ["MODEL.META_ARCHITECTURE", architecture]
    if architecture == "MGN":
        options += ["MODEL.BACKBONE.DEPTH", "50x"]
    assert_refused(small_config(*options), f"MDPRHead reads MDPR's branches, which .* {architecture} does not have")


def test_a_config_from_before_the_import_is_refused_with_the_way_out():
    cfg = small_config()
    model = {key: value for key, value in cfg.MODEL.items() if key not in ("MDPR", "COMPILE", "CHANNELS_LAST")}
    cfg = CfgNode({**cfg, "MODEL": CfgNode(model)})
    assert_refused(cfg, r"mdpr_fastreid\.add_mdpr_config\(cfg\)")


def test_an_architecture_of_the_users_own_may_have_mdprs_head():
    class OwnMDPR(MDPR):
        pass

    META_ARCH_REGISTRY.register(OwnMDPR)
    try:
        assert type(small_model("MODEL.META_ARCHITECTURE", "OwnMDPR")) is OwnMDPR
    finally:
        META_ARCH_REGISTRY._obj_map.pop("OwnMDPR")


def test_mgn_is_refused_images_whose_maps_it_cannot_cut_into_three():
    high = ["INPUT.SIZE_TRAIN", [96, 32], "INPUT.SIZE_TEST", [96, 32]]
    options = ["MODEL.META_ARCHITECTURE", "MGN", "MODEL.HEADS.NAME", "EmbeddingHead", "MODEL.BACKBONE.DEPTH", "50x"]
    cfg = small_config(*options, *high, "MODEL.HEADS.EMBEDDING_DIM", 8)
    model = build_model(cfg).eval()
    lower = cfg.clone()
    with torch.no_grad():
        for height in (48, 96):
            lower.INPUT.SIZE_TEST = [height, 32]
            check_heads(lower, model)
            assert model(torch.rand(1, 3, height, 32)).isfinite().all()
        lower.INPUT.SIZE_TEST = [64, 32]
        with pytest.raises(SettingsError, match=r"SIZE_TEST \[64, 32\]: MGN cuts its maps into three .* rows, 4"):
            check_heads(lower, model)
        with pytest.raises(ValueError, match="expected 3"):
            model(torch.rand(1, 3, 64, 32))
    lower.INPUT.CROP.ENABLED, lower.INPUT.CROP.SIZE = True, [96, 32]
    check_heads(lower, model)  # what is cut out is high enough, whatever it is cut from
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.SIZE = True, [64, 32]
    with pytest.raises(SettingsError, match=r"^INPUT\.CROP\.SIZE \[64, 32\]: MGN cuts"):
        check_heads(cfg, model)
