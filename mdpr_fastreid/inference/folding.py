"""Folding: from a trained model to the network that computes its features and nothing else."""

import copy
from collections.abc import Iterable

import torch
from fastreid.layers.pooling import FastGlobalAvgPool
from fastreid.modeling.heads import ClasHead, EmbeddingHead
from fastreid.modeling.meta_arch import MGN, Baseline
from torch import nn

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.inference.batch_norm import fold_batch_norms, is_batch_norm, scale_shift
from mdpr_fastreid.inference.network import FoldedNetwork, Precision
from mdpr_fastreid.inference.winograd import use_winograd
from mdpr_fastreid.modeling.heads import FeatureFusion
from mdpr_fastreid.modeling.heads.features import BRANCH_OF, maps_for
from mdpr_fastreid.modeling.meta_arch.mdpr import MDPR


def fold(model: nn.Module, dtype: torch.dtype = torch.float32, winograd: bool | None = None) -> FoldedNetwork:
    """A network that computes a model's features in evaluation, with less arithmetic; the model stays as it is.

    Only what reaches the features is left; batch norms are folded into the convolutions before them, batch necks into
    scale and shift; in MDPR the fusion block's 1x1 and 3x3 convolutions, with nothing between them, are one; weights
    are kept channels-last. Non-local blocks, squeeze-and-excitation, split attention and instance norms are computed
    as they were.

    Args:
        model: MDPR, or FastReID's Baseline (bag of tricks, AGW, SBS, ...) or MGN. Its mode does not matter.
        dtype: of the convolutions; pooling and what follows it, as the features, are in float32.
        winograd: whether 3x3 convolutions are computed by Winograd's algorithm, which takes four times their memory; by
            default where that is faster, in float32 on a CPU.

    Returns:
        ``[B, 3, H, W]`` images (RGB, 0 to 255), or a batch dict with ``images``, -> ``[B, D]`` features in float32.

    Raises:
        UsageError: another kind of model.
    """
    if not isinstance(model, (MDPR, Baseline, MGN)):
        raise UsageError(
            f"fold() takes MDPR and FastReID's Baseline and MGN; {type(model).__name__} is none of them, "
            "so it can only be run as it is"
        )
    network = copy.deepcopy(model).eval().requires_grad_(False)
    features = _feature_lengths(network)
    if isinstance(network, MDPR):
        _keep_what_is_inferred(network)
    _fold_heads(network)
    for module in list(network.modules()):
        if isinstance(module, FeatureFusion):
            _merge_convolutions(module)
    for name, child in list(network.named_children()):
        network.add_module(name, fold_batch_norms(child))
    if winograd or (winograd is None and dtype == torch.float32 and network.device.type == "cpu"):
        use_winograd(network)
    _set_precision(network, dtype)
    return FoldedNetwork(network, features).to(memory_format=torch.channels_last)


def merged(pointwise: nn.Conv2d, conv: nn.Conv2d) -> nn.Conv2d:
    """One convolution for a 1x1 convolution and the one that follows it with nothing between them.

    Raises:
        ValueError: they cannot be merged exactly: the first is not a plain 1x1 convolution, or it has a bias, which the
            zero padding of the second lets through everywhere but at the border.
    """
    plain = pointwise.kernel_size == (1, 1) and pointwise.stride == (1, 1) and pointwise.padding == (0, 0)
    if not plain or pointwise.groups != 1 or conv.groups != 1 or pointwise.bias is not None:
        raise ValueError(f"{pointwise} and {conv} are not one convolution")
    both = nn.Conv2d(
        pointwise.in_channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        conv.dilation,
        bias=conv.bias is not None,
        padding_mode=conv.padding_mode,
        device="meta",
    )
    weight = torch.einsum("omhw,mi->oihw", conv.weight.detach().double(), pointwise.weight.detach().double()[..., 0, 0])
    both.weight = nn.Parameter(weight.to(conv.weight.dtype), requires_grad=False)
    both.bias = conv.bias
    return both.eval()


def _keep_what_is_inferred(network: MDPR) -> None:
    """Take away what the inference vector does not need."""
    features = network.heads.inference_features
    maps = maps_for(features)
    wanted = {BRANCH_OF[name] for name in maps}
    for branch in ("hard", "soft"):
        if branch not in wanted and getattr(network, branch) is not None:
            setattr(network, branch, None)
            delattr(network.backbone, branch)
    if network.hard is not None:
        _drop(network.hard, [] if "hard_global" in maps else ["global_embedding"])
        _drop(network.hard, [] if "hard_parts" in maps else ["stripe_embeddings"])
    if network.soft is not None:
        attention = ["attention_maker4", "attention_maker3", "guidance", "pooling4", "pooling3"]
        _drop(network.soft, attention)
        _drop(network.soft, [] if "soft4" in maps else ["embedding4"])
        _drop(network.soft, [] if "soft3" in maps else ["refine3", "embedding3"])
        if "soft4" not in maps:
            _drop(network.backbone.soft, ["stage4"])
    head = network.heads
    for name in list(head.embedding_heads):
        if ("hard_parts" if name.startswith("hard_part") else name) not in features:
            del head.embedding_heads[name]
    if "fusion" not in features:
        head.fusion = None
    _drop(head, ["predictors", "identity_losses", "distillation_loss", "diversity_loss", "area_loss"])


def _drop(module: nn.Module, names: Iterable[str]) -> None:
    for name in names:
        if name in module._modules:
            setattr(module, name, None)


def _merge_convolutions(fusion: FeatureFusion) -> None:
    for name, blend in list(fusion.named_children()):
        pointwise, conv, *rest = blend
        setattr(fusion, name, nn.Sequential(merged(pointwise, conv), *rest))


def _feature_lengths(network: nn.Module) -> dict[str, int]:
    """The parts of the inference vector, in order, by name: what it is made of in MDPR, else one."""
    if isinstance(network, MDPR):
        heads = network.heads.embedding_heads
        return {name: heads[name].weight.size(1) for name in network.heads.inference_heads()}
    heads = [module for module in network.modules() if isinstance(module, EmbeddingHead)]
    return {"features": sum(head.weight.size(0 if isinstance(head, ClasHead) else 1) for head in heads)}


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
    inner, name = (network.backbone, "trunk") if isinstance(network, MDPR) else (network, "backbone")
    for module in network.modules():
        if isinstance(module, EmbeddingHead):
            # Half precision cannot hold the powers of generalised mean pooling, and a neck's digits are the ranking's.
            module.pool_layer = nn.Sequential(Precision(torch.float32), module.pool_layer)
    _cast(network, dtype, kept=(network.pixel_mean, network.pixel_std))
    setattr(inner, name, nn.Sequential(Precision(dtype), getattr(inner, name)))


def _cast(module: nn.Module, dtype: torch.dtype, kept: tuple[torch.Tensor, ...] = ()) -> None:
    if isinstance(module, EmbeddingHead):
        return
    for tensor in [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
        if tensor.is_floating_point() and not any(tensor is other for other in kept):
            tensor.data = tensor.data.to(dtype)
    for child in module.children():
        _cast(child, dtype)
