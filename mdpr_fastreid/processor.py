"""What a processor computes itself, instead of emulating it."""

import torch

_INSTRUCTIONS = {
    torch.bfloat16: ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"),
    torch.float16: ("avx512_fp16", "amx_fp16", "fp16_arith"),
}
"""Names of capabilities in ``torch.cpu.get_capabilities`` (x86 and Arm), any one of which is enough."""


def computes(dtype: torch.dtype, device: torch.device | str) -> bool:
    """Whether a device has instructions for a type: otherwise that type is slower than float32, not faster.

    Args:
        dtype: ``torch.bfloat16`` or ``torch.float16``; every device computes any other.
        device: a CPU or a CUDA device.
    """
    if dtype not in _INSTRUCTIONS:
        return True
    if torch.device(device).type == "cuda":
        return dtype == torch.float16 or torch.cuda.is_bf16_supported(including_emulation=False)
    return any(_cpu_capabilities().get(name, False) for name in _INSTRUCTIONS[dtype])


def _cpu_capabilities() -> dict[str, bool]:
    if hasattr(torch.cpu, "get_capabilities"):
        return torch.cpu.get_capabilities()
    # Before PyTorch 2.10 it can be asked for one type only
    return {"avx512_bf16": torch.cpu._is_avx512_bf16_supported()}
