"""``MODEL.DEVICE cuda`` on a machine without CUDA."""

import pytest
import torch
from fastreid.engine import DefaultPredictor
from fastreid.modeling import build_model
from small_runs import logged_by_fastreid, small_config

from mdpr_fastreid.compat import cpu_device

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="tells what happens without CUDA")


def cuda_config(tmp_path):
    return small_config(tmp_path, "MODEL.DEVICE", "cuda", "MODEL.HEADS.NUM_CLASSES", 4)


def test_models_are_built_on_the_cpu_with_one_warning(tmp_path):
    cpu_device._warn_once.cache_clear()
    cfg = cuda_config(tmp_path)
    cfg.freeze()
    with logged_by_fastreid() as messages:
        devices = {build_model(cfg).device.type for _ in range(2)}
    assert devices == {"cpu"}
    assert [message for message in messages if "no CUDA device" in message] == [
        "MODEL.DEVICE is cuda, but PyTorch finds no CUDA device here: using the CPU"
    ]
    assert cfg.MODEL.DEVICE == "cuda"


def test_the_predictor_runs_on_the_cpu(tmp_path):
    features = DefaultPredictor(cuda_config(tmp_path))(torch.rand(2, 3, 32, 16) * 255)
    assert features.shape == (2, 16)
    assert features.device.type == "cpu"


def test_a_config_that_says_cpu_is_left_alone(tmp_path):
    cfg = small_config(tmp_path)
    assert cpu_device.on_available_device(cfg) is cfg
