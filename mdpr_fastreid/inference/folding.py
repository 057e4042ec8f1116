"""Folding: from a trained model to the network that computes its features and nothing else.

A model says itself what folding cannot know, by attributes that are all optional:

* ``simplify_for_inference()`` takes away, in place, what does not reach the features. Any module of the model may
  have it; it is called on a copy in evaluation mode, on the model before the modules inside.
* ``feature_lengths()`` gives the length of each part of the feature vector by name, in order. By default it is one
  part, as long as the outputs of FastReID's heads in the model are together. A model that gives a dict of tensors needs
  none: each tensor speaks for itself.
* ``folds_from`` names the module that gets the normalised images, and with it the precision; ``backbone`` by default.
  A model with neither ``feature_lengths()`` nor FastReID's heads has to name it.
* ``float32_modules`` names modules whose weights stay in float32 when the network is folded in half precision, beside
  FastReID's heads; the model itself casts what it gives them.
* What a model brings along for evaluation (:mod:`mdpr_fastreid.modeling.brought`) the folded network brings, too.
"""

import copy

import torch
from fastreid.layers.pooling import FastGlobalAvgPool
from fastreid.modeling.heads import ClasHead, EmbeddingHead
from torch import nn

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.inference.batch_norm import fold_batch_norms, is_batch_norm, scale_shift
from mdpr_fastreid.inference.network import FoldedNetwork, Precision
from mdpr_fastreid.inference.winograd import use_winograd


def fold(model: nn.Module, dtype: torch.dtype = torch.float32, winograd: bool | None = None) -> FoldedNetwork:
    """A network that computes a model's features in evaluation, with less arithmetic; the model stays as it is.

    Only what reaches the features is left; batch norms are folded into the convolutions before them, batch necks into
    scale and shift; in MDPR the fusion block's 1x1 and 3x3 convolutions, with nothing between them, are one; weights
    are kept channels-last. Non-local blocks, squeeze-and-excitation, split attention and instance norms are computed
    as they were.

    Args:
        model: MDPR, FastReID's own (Baseline, MGN, ...), or another with FastReID's heads behind a ``backbone``, or
            with the attributes above. Its mode does not matter.
        dtype: of the convolutions; pooling and what follows it, as the features, are in float32, or in float64 if that
            is the type, for which the model has to be in float64.
        winograd: whether 3x3 convolutions are computed by Winograd's algorithm, which takes four times their memory; by
            default where that is faster, in float32 on a CPU.

    Returns:
        ``[B, 3, H, W]`` images (RGB, 0 to 255), or a batch dict with ``images``, -> ``[B, D]`` features in float32; or
        the dict of tensors that the model gives.

    Raises:
        UsageError: another kind of model.
    """
    _check_foldable(model)
    network = copy.deepcopy(model).eval().requires_grad_(False)
    features = network.feature_lengths() if hasattr(network, "feature_lengths") else _lengths_of_heads(network)
    _simplify(network)
    _fold_heads(network)
    for name, child in list(network.named_children()):
        network.add_module(name, fold_batch_norms(child))
    if winograd or (winograd is None and dtype == torch.float32 and network.device.type == "cpu"):
        use_winograd(network)
    _set_precision(network, dtype)
    return FoldedNetwork(network, features).to(memory_format=torch.channels_last)


def _check_foldable(model: nn.Module) -> None:
    says_how = hasattr(model, "feature_lengths") or hasattr(model, "folds_from")
    heads = says_how or any(isinstance(module, EmbeddingHead) for module in model.modules())
    needed = ("pixel_mean", "pixel_std", "device", _folds_from(model).partition(".")[0])
    if not heads or not all(hasattr(model, name) for name in needed):
        raise UsageError(
            "fold() takes MDPR, FastReID's own models, and others that say how they fold "
            f"(mdpr_fastreid/inference/folding.py); {type(model).__name__} is none of them, "
            "so it can only be run as it is"
        )


def _folds_from(model: nn.Module) -> str:
    return getattr(model, "folds_from", "backbone")


def _simplify(module: nn.Module) -> None:
    if hasattr(module, "simplify_for_inference"):
        module.simplify_for_inference()
    for child in list(module.children()):
        _simplify(child)


def _lengths_of_heads(network: nn.Module) -> dict[str, int]:
    heads = [module for module in network.modules() if isinstance(module, EmbeddingHead)]
    if not heads:
        return {}
    # Embeddings of the two are not to be compared, though their lengths may be the same
    name = "before_neck" if any(hasattr(head, "feature_length") for head in heads) else "features"
    return {name: sum(_length(head) for head in heads)}


def _length(head: EmbeddingHead) -> int:
    return getattr(head, "feature_length", head.weight.size(0 if isinstance(head, ClasHead) else 1))


def _fold_heads(network: nn.Module) -> None:
    for name, module in list(network.named_modules()):
        if isinstance(module, FastGlobalAvgPool) and not module.flatten:
            network.set_submodule(name, nn.AdaptiveAvgPool2d(1))  # the stock one needs NCHW
    for head in [module for module in network.modules() if isinstance(module, EmbeddingHead)]:
        neck = fold_batch_norms(head.bottleneck)
        head.bottleneck = nn.Sequential(*(scale_shift(layer) if is_batch_norm(layer) else layer for layer in neck))
        if not isinstance(head, ClasHead):
            del head.weight, head.cls_layer


def _set_precision(network: nn.Module, dtype: torch.dtype) -> None:
    """Let everything between the normalised pixels and the heads work in ``dtype``, channels-last."""
    entry = _folds_from(network)
    for module in network.modules():
        if isinstance(module, EmbeddingHead):
            # Half precision cannot hold the powers of generalised mean pooling, and a neck's digits are the ranking's.
            module.pool_layer = nn.Sequential(Precision(_at_least_float32(dtype)), module.pool_layer)
    exact = {network.get_submodule(name) for name in getattr(network, "float32_modules", ())}
    _cast(network, dtype, exact, kept=(network.pixel_mean, network.pixel_std))
    network.set_submodule(entry, nn.Sequential(Precision(dtype), network.get_submodule(entry)))


def _at_least_float32(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _cast(module: nn.Module, dtype: torch.dtype, exact: set[nn.Module], kept: tuple[torch.Tensor, ...] = ()) -> None:
    if isinstance(module, EmbeddingHead) or module in exact:
        return
    for tensor in [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
        if tensor.is_floating_point() and not any(tensor is other for other in kept):
            tensor.data = tensor.data.to(dtype)
    for child in module.children():
        _cast(child, dtype, exact)
