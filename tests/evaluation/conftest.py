"""The devices these tests run on, and the toolbox's own functions behind the patches."""

import pytest
import torch


@pytest.fixture(
    params=[
        "cpu",
        pytest.param(
            "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")]
        ),
    ]
)
def device(request) -> torch.device:
    """A CPU, and a GPU where there is one."""
    return torch.device(request.param)
