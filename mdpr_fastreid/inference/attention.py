"""Where a model looks: MDPR's attention maps and stripes, or the activation of any model's last feature maps."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from fastreid.modeling.heads import EmbeddingHead
from torch import nn

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.inference.network import FoldedNetwork

STRIPES = "stripes"
ACTIVATION = "activation"


def attention_maps(model: nn.Module, images: dict | torch.Tensor) -> dict[str, np.ndarray]:
    """Where a model looks in each image.

    MDPR has ``attention4_1`` to ``attention4_M`` and ``attention3_1`` to ``attention3_M``, the foreground attention of
    stages 4 and 3 (arXiv 2401.06430, soft content branch), each value a probability; and ``stripes``, how strongly the
    hard content branch responds at each place: the norm over the channels of a stripe's embedded map, divided by the
    largest in this stripe. Stripes are scaled apart because each has an embedding of its own. A branch that the model
    does not have is left out.

    Other models have ``activation``, the norm over the channels of the map that the head gets, divided by the largest
    in the image; with several heads (MGN) ``activation_<head>`` for those that get the whole person. It says where the
    features are large, not what the model attends to.

    Args:
        model: MDPR or another model with FastReID's heads, folded or not; MDPR must not be folded, because that takes
            its attention away. Its mode does not matter and does not change.
        images: ``[B, 3, H, W]`` on the model's device (RGB, 0 to 255), or a batch with ``images``.

    Returns:
        float32 ``[B, h, w]`` in [0, 1] by the maps' names, in the order in which they are to be looked at.

    Raises:
        UsageError: the model is a folded MDPR, or has no feature maps.
    """
    folded = isinstance(model, FoldedNetwork)
    network = model.network if folded else model
    is_mdpr = hasattr(network, "attention_maps")
    if folded and is_mdpr:
        raise UsageError("a folded MDPR has no attention maps any more: load the model with folded=False")
    with torch.inference_mode(), _evaluating(network):
        maps = _of_mdpr(network, images) if is_mdpr else _activations(network, images)
    return {name: values.float().clamp(0, 1).cpu().numpy() for name, values in maps.items()}


def _of_mdpr(model: nn.Module, images: dict | torch.Tensor) -> dict[str, torch.Tensor]:
    soft, hard = model.soft, model.hard
    branches = {"attention": soft, "hard_parts": hard}
    wanted = [reading for reading, branch in branches.items() if branch is not None]
    stages = model.backbone(model.preprocess_image(images), wanted)
    maps: dict[str, torch.Tensor] = {}
    if soft is not None:
        attention = soft.attention(stages.soft3, stages.soft4)
        for stage, values in ((4, attention.granularity4), (3, attention.granularity3)):
            maps |= {f"attention{stage}_{number}": one for number, one in enumerate(values.unbind(1), start=1)}
    if hard is not None:
        stripes = hard(stages.hard4, global_map=False, stripe_maps=True).stripe_maps
        maps[STRIPES] = torch.cat([_response(stripe) for stripe in stripes], dim=1)
    return maps


def _activations(model: nn.Module, images: dict | torch.Tensor) -> dict[str, torch.Tensor]:
    seen: dict[str, torch.Tensor] = {}

    def watched(name: str):
        def keep(module: nn.Module, args: tuple) -> None:
            if args and isinstance(args[0], torch.Tensor) and args[0].ndim == 4 and args[0][0, 0].numel() > 1:
                seen[name] = _response(args[0])

        return keep

    heads = [(name, module) for name, module in model.named_modules() if isinstance(module, EmbeddingHead)]
    hooks = [head.register_forward_pre_hook(watched(name)) for name, head in heads]
    try:
        model(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not seen:
        raise UsageError(
            f"{type(model).__name__} has nothing to look at: MDPR has attention maps, and of other models one of "
            "FastReID's heads must get a feature map with height and width"
        )
    tallest = max(values.size(1) for values in seen.values())
    whole = {name: values for name, values in seen.items() if values.size(1) == tallest}
    return {ACTIVATION if len(whole) == 1 else f"{ACTIVATION}_{name}": values for name, values in whole.items()}


def _response(features: torch.Tensor) -> torch.Tensor:
    """``[B, C, h, w]`` -> ``[B, h, w]``: the norm over the channels, divided by the largest in the map."""
    response = features.float().norm(dim=1)
    return response / response.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(response.dtype).tiny)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and afterwards for each module the mode it was in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
