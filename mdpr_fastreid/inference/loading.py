"""From a config and a weight file to a network that maps images to features."""

from os import PathLike

import torch
from fastreid.config import CfgNode
from torch import nn

from mdpr_fastreid.config import read_config
from mdpr_fastreid.inference.folding import fold
from mdpr_fastreid.modeling import build_model
from mdpr_fastreid.weights import load_for_evaluation


def load(
    config: str | PathLike | CfgNode,
    weights: str | PathLike,
    *,
    folded: bool = True,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device | None = None,
    winograd: bool | None = None,
    overrides: tuple = (),
) -> nn.Module:
    """A trained model, ready to embed images.

    Args:
        config: a config's path, the name of one of ours (``MDPR/duke_r50.yml``), or a config.
        weights: its checkpoint or weight file.
        folded: whether it is folded, see :func:`mdpr_fastreid.inference.fold`; else it is the model as it was trained.
        dtype: as in :func:`~mdpr_fastreid.inference.fold`; needs ``folded``.
        device: where it shall run; by default ``MODEL.DEVICE``, or the CPU where that is not there.
        winograd: as in :func:`~mdpr_fastreid.inference.fold`.
        overrides: ``KEY, VALUE, KEY, VALUE, ...`` on top of a config that is read from a file.

    Returns:
        A module in evaluation mode: ``[B, 3, H, W]`` images (RGB, 0 to 255, of the size ``INPUT.SIZE_TEST``) ->
        ``[B, D]`` features in float32, to be compared by cosine; of a model that gives a dict of tensors, that dict,
        to be compared by the distance that the model brings along.

    Raises:
        UsageError: the config cannot be read, the weights cannot be read or do not fit, or the model cannot be folded.
        ValueError: another precision than float32 without folding.
    """
    if not folded and dtype != torch.float32:
        raise ValueError(f"only a folded network computes in {dtype}; leave folded=True")
    if not isinstance(config, CfgNode):
        config = read_config(config, overrides, parts=("model",))
    config = config.clone()
    config.defrost()
    config.MODEL.BACKBONE.PRETRAIN = False  # all weights come from the file
    if device is not None:
        config.MODEL.DEVICE = str(device)
    model = build_model(config).eval()
    load_for_evaluation(model, str(weights))
    return fold(model, dtype, winograd) if folded else model
