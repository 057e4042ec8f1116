"""What is evaluated instead of the model itself: the same features, computed faster."""

import logging

import torch
from fastreid.config import CfgNode
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mdpr_fastreid.errors import SettingsError, UsageError
from mdpr_fastreid.evaluation.outputs import in_float32
from mdpr_fastreid.inference import PRECISIONS, fold
from mdpr_fastreid.modeling.brought import hand_on
from mdpr_fastreid.processor import computes


def evaluation_dtype(cfg: CfgNode) -> torch.dtype:
    """The type that ``TEST.AMP`` names.

    Raises:
        SettingsError: it names none.
    """
    if cfg.TEST.AMP not in ("", *PRECISIONS):
        raise SettingsError(f"TEST.AMP must be empty (float32), 'bfloat16' or 'float16', not {cfg.TEST.AMP!r}")
    return PRECISIONS[cfg.TEST.AMP or "float32"]


def evaluation_network(cfg: CfgNode, model: nn.Module) -> nn.Module:
    """What computes a model's features in evaluation, as ``TEST.FOLDED`` and ``TEST.AMP`` ask for it.

    Args:
        cfg: the run's config.
        model: what is trained or was loaded, possibly wrapped for many processes; it stays as it is.

    Returns:
        The folded network; or the model, in ``TEST.AMP``'s precision, where it cannot or shall not be folded.
    """
    logger = logging.getLogger("fastreid")
    dtype = evaluation_dtype(cfg)
    if isinstance(model, DistributedDataParallel):
        model = model.module
    if dtype != torch.float32 and not computes(dtype, next(model.parameters()).device):
        logger.warning(
            f"This processor has no {cfg.TEST.AMP} instructions: TEST.AMP makes evaluation slower, not faster"
        )
    if cfg.TEST.FOLDED:
        try:
            return fold(model, dtype)
        except UsageError as error:
            logger.info(f"TEST.FOLDED: {error}")
    return model if dtype == torch.float32 else _Autocast(model, dtype)


class _Autocast(nn.Module):
    """Computes in another precision; what a model brings along for evaluation, it has if the model has it."""

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.dtype = model, dtype
        hand_on(model, self)
        self.training = model.training  # FastReID puts what it has evaluated back into the mode it found

    def forward(self, batched_inputs: dict | torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
        with torch.autocast(next(self.model.parameters()).device.type, self.dtype):
            return in_float32(self.model(batched_inputs))
