"""AMP on the CPU, and the type it computes in."""

import pytest
import torch
from fastreid.engine import DefaultTrainer
from small_runs import logged_by_fastreid, small_config

from mdpr_fastreid.compat import mixed_precision
from mdpr_fastreid.errors import UsageError


def run_recording_types(tmp_path, *options):
    trainer = DefaultTrainer(small_config(tmp_path, "SOLVER.AMP.ENABLED", True, "SOLVER.MAX_EPOCH", 1, *options))
    types = set()
    convolution = trainer.model.backbone[0]
    convolution.register_forward_hook(lambda module, inputs, output: types.add(output.dtype))
    before = convolution.weight.detach().clone()
    trainer.train()
    assert not torch.equal(convolution.weight, before)
    return trainer, types


def test_a_cpu_without_bfloat16_trains_in_float32_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(mixed_precision, "computes", lambda *_: False)
    mixed_precision._tell_cpu_dtype.cache_clear()
    with logged_by_fastreid() as messages:
        trainer, types = run_recording_types(tmp_path, "TEST.EVAL_PERIOD", 0)
    assert types == {torch.float32}
    assert trainer.grad_scaler is None
    assert sum("float32" in message for message in messages if "SOLVER.AMP" in message and "CPU" in message) == 1


def test_a_cpu_with_bfloat16_autocasts_to_it_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(mixed_precision, "computes", lambda *_: True)
    mixed_precision._tell_cpu_dtype.cache_clear()
    with logged_by_fastreid() as messages:
        trainer, types = run_recording_types(tmp_path, "TEST.EVAL_PERIOD", 0)
    assert types == {torch.bfloat16}
    assert trainer.grad_scaler is None
    assert sum("bfloat16" in message for message in messages if "on a CPU" in message) == 1


@pytest.mark.parametrize(
    ("device", "configured", "expected"),
    [("cuda", "float16", torch.float16), ("cuda", "bfloat16", torch.bfloat16)],
)
def test_on_a_gpu_the_config_chooses(device, configured, expected):
    assert mixed_precision.autocast_dtype(device, configured) is expected


def test_an_unknown_type_is_an_error_that_names_the_key(tmp_path):
    with pytest.raises(UsageError, match=r"SOLVER\.AMP\.DTYPE 'half' is not one of float16, bfloat16"):
        DefaultTrainer(small_config(tmp_path, "SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", "half"))


def test_a_config_without_the_plugins_keys_trains_too(tmp_path):
    cfg = small_config(tmp_path, "SOLVER.AMP.ENABLED", True, "SOLVER.MAX_EPOCH", 1, "TEST.EVAL_PERIOD", 0)
    del cfg.SOLVER.AMP["DTYPE"], cfg["SEED"]
    DefaultTrainer(cfg).train()
    assert (tmp_path / "model_final.pth").exists()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="loss scaling is for CUDA")
@pytest.mark.parametrize(("configured", "scales"), [("float16", True), ("bfloat16", False)])
def test_on_cuda_float16_is_scaled_and_its_scale_saved(tmp_path, configured, scales):
    options = ["MODEL.DEVICE", "cuda", "SOLVER.AMP.DTYPE", configured, "TEST.EVAL_PERIOD", 0]
    trainer, types = run_recording_types(tmp_path, *options)
    assert types == {getattr(torch, configured)}
    assert (trainer.grad_scaler is not None) == scales
    assert ("grad_scaler" in torch.load(tmp_path / "model_final.pth", weights_only=True)) == scales
