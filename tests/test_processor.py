import pytest
import torch

from mdpr_fastreid.processor import computes


@pytest.mark.parametrize(
    ("dtype", "capability"),
    [
        *((torch.bfloat16, name) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")),
        *((torch.float16, name) for name in ("avx512_fp16", "amx_fp16", "fp16_arith")),
    ],
)
def test_a_half_precision_is_computed_where_the_processor_has_one_of_its_instructions(monkeypatch, dtype, capability):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, capability: False}, raising=False)
    assert not computes(dtype, "cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, capability: True}, raising=False)
    assert computes(dtype, "cpu")


def test_float32_is_computed_everywhere(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    assert computes(torch.float32, "cpu")


@pytest.mark.parametrize("has_bfloat16", [True, False])
def test_before_torch_2_10_it_is_asked_of_the_one_function_there_is(monkeypatch, has_bfloat16):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_bfloat16)
    assert computes(torch.bfloat16, "cpu") is has_bfloat16
    assert not computes(torch.float16, "cpu")
