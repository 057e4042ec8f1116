"""Batch norms in evaluation are affine, so the convolution before one can do its work."""

import copy
from collections import Counter
from collections.abc import Iterator

import torch
from fastreid.layers import IBN
from fastreid.layers.batch_norm import FrozenBatchNorm, GhostBatchNorm
from fastreid.layers.splat import SplAtConv2d
from fastreid.modeling.backbones.repvgg import RepVGGBlock
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from mdpr_fastreid.inference.timm_layers import (
    after_norm,
    is_norm_with_activation,
    is_same_padded_convolution,
    reparameterized,
)
from mdpr_fastreid.inference.winograd import is_plain_convolution
from mdpr_fastreid.modeling.layers import SyncBatchNorm

# Children of modules whose Python cannot be traced, of which the second reads the first and nothing else does.
_PAIRS: dict[type[nn.Module], tuple[tuple[str, str], ...]] = {SplAtConv2d: (("conv", "bn0"), ("fc1", "bn1"))}

# In evaluation each of these computes (x - running_mean) / sqrt(running_var + eps) * weight + bias
_NORMALISE = (
    _BatchNorm.forward,
    nn.SyncBatchNorm.forward,
    SyncBatchNorm.forward,
    GhostBatchNorm.forward,
    FrozenBatchNorm.forward,
)


class ScaleShift(nn.Module):
    """A batch norm with nothing before it to fold into: ``x * scale + shift`` per channel.

    Args:
        scale: ``[C]``.
        shift: ``[C]``.

    Shapes:
        ``[B, C, h, w]`` -> the same.
    """

    def __init__(self, scale: torch.Tensor, shift: torch.Tensor):
        super().__init__()
        self.scale = nn.Parameter(scale[:, None, None], requires_grad=False)
        self.shift = nn.Parameter(shift[:, None, None], requires_grad=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.addcmul(self.shift, features, self.scale)


class HalfInstanceNorm(nn.Module):
    """IBN-a (Pan et al., ECCV 2018) whose batch-normalised half the convolution before it has taken over.

    Args:
        norm: the instance norm of the first channels.
        half: how many they are.

    Shapes:
        ``[B, C, h, w]`` -> the same.
    """

    def __init__(self, norm: nn.InstanceNorm2d, half: int):
        super().__init__()
        self.norm = norm
        self.half = half

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.norm(features[:, : self.half]), features[:, self.half :]], dim=1)


def fold_batch_norms(module: nn.Module) -> nn.Module:
    """Fold every batch norm that reads a convolution, and nothing else does, into that convolution, in place.

    What follows what is found by tracing, so it holds for any module: one whose Python cannot be traced is looked into
    child by child. Weights are computed in float64. RepVGG's blocks become one convolution each (Ding et al., CVPR
    2021, section 3.3), as blocks of timm's MobileOne, RepViT and FastViT do. A batch norm of timm's with its activation
    inside leaves the activation. Batch norms without a convolution, or without statistics, stay, and so does every
    layer that may compute more than is known here.

    Args:
        module: in evaluation mode.

    Returns:
        The module itself, or what replaces it.
    """
    module = reparameterized(_with_plain_repvgg(module))
    for parent, first, second in list(_foldable(module)):
        conv, norm = parent.get_submodule(first), parent.get_submodule(second)
        if isinstance(norm, IBN):
            fold_into(conv, norm.BN, first_channel=norm.half)
            parent.set_submodule(second, HalfInstanceNorm(norm.IN, norm.half))
        elif is_norm_with_activation(norm):
            fold_into(conv, norm)
            parent.set_submodule(second, after_norm(norm))
        else:
            fold_into(conv, norm)
            parent.set_submodule(second, nn.Identity())
    return module


def fold_into(conv: nn.Conv2d, norm: nn.Module, first_channel: int = 0) -> None:
    """Make a convolution compute what a batch norm behind it does to its output channels from ``first_channel`` on."""
    weight = conv.weight.detach().double()
    bias = torch.zeros(len(weight), device=weight.device, dtype=weight.dtype)
    if conv.bias is not None:
        bias = conv.bias.detach().double()
    rows = slice(first_channel, None)
    affine = (None if value is None else value.detach().double() for value in (norm.weight, norm.bias))
    mean, variance = norm.running_mean.double(), norm.running_var.double()
    weight, bias = weight.clone(), bias.clone()
    weight[rows], bias[rows] = (
        value.detach() for value in fuse_conv_bn_weights(weight[rows], bias[rows], mean, variance, norm.eps, *affine)
    )
    conv.weight = nn.Parameter(weight.to(conv.weight.dtype), requires_grad=False)
    conv.bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=False)


def scale_shift(norm: nn.Module) -> ScaleShift:
    """What a batch norm computes in evaluation, as one multiplication and addition."""
    dtype = norm.running_mean.dtype
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.detach().double()
    shift = -norm.running_mean.double() * scale
    if norm.bias is not None:
        shift = shift + norm.bias.detach().double()
    return ScaleShift(scale.to(dtype), shift.to(dtype))


def is_batch_norm(module: nn.Module) -> bool:
    """Whether it is a batch norm, FastReID's included, that has statistics and does nothing else.

    A class of its own may do more: timm's ``BatchNormAct2d`` has the activation inside.
    """
    return type(module).forward in _NORMALISE and getattr(module, "running_mean", None) is not None


def _foldable(module: nn.Module) -> Iterator[tuple[nn.Module, str, str]]:
    """``(parent, convolution, batch norm)`` for every pair, the latter two as names below the parent."""
    tracer = _Tracer()
    graph = tracer.trace_if_possible(module)
    if graph is None:
        for first, second in _PAIRS.get(type(module), ()):
            if hasattr(module, first) and is_batch_norm(getattr(module, second, nn.Identity())):
                yield module, first, second
        for child in module.children():
            yield from _foldable(child)
        return
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    # Whose weights are read by others than itself
    read = {str(node.target).rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}
    for node in graph.nodes:
        before = node.args[0] if node.args else None
        if node.op != "call_module" or not isinstance(before, fx.Node) or before.op != "call_module":
            continue
        conv, norm = (module.get_submodule(call.target) for call in (before, node))
        once = len(before.users) == 1 and calls[before.target] == calls[node.target] == 1
        own = read.isdisjoint((before.target, node.target))
        if _takes_a_norm(conv) and _is_foldable(norm) and once and own:
            yield module, before.target, node.target
    for name in tracer.opaque:
        yield from _foldable(module.get_submodule(name))


def _takes_a_norm(module: nn.Module) -> bool:
    return is_plain_convolution(module) or is_same_padded_convolution(module)


def _is_foldable(module: nn.Module) -> bool:
    if isinstance(module, IBN):
        return is_batch_norm(module.BN)
    return is_batch_norm(module) or is_norm_with_activation(module)


class _Tracer(fx.Tracer):
    """Traces around the children that cannot be traced, and keeps their names in ``opaque``."""

    def trace_if_possible(self, module: nn.Module) -> fx.Graph | None:
        self.opaque: list[str] = []
        if self.is_leaf_module(module, ""):
            return None
        try:
            return self.trace(module)
        except Exception:  # whatever it is that its Python does with a proxy: it cannot be traced
            return None

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        known = isinstance(module, IBN) or _is_foldable(module) or is_same_padded_convolution(module)
        return known or super().is_leaf_module(module, name)

    def call_module(self, module: nn.Module, forward, args: tuple, kwargs: dict):
        name, before = self.path_of_module(module), list(self.graph.nodes)
        try:
            return super().call_module(module, forward, args, kwargs)
        except Exception:  # as above
            for node in reversed([node for node in self.graph.nodes if node not in set(before)]):
                self.graph.erase_node(node)
            self.opaque = [inner for inner in self.opaque if not inner.startswith(f"{name}.")] + [name]
            return self.create_proxy("call_module", name, args, kwargs)


def _with_plain_repvgg(module: nn.Module) -> nn.Module:
    if isinstance(module, RepVGGBlock):
        return _plain_repvgg(module)
    blocks = [name for name, block in module.named_modules() if isinstance(block, RepVGGBlock)]
    for name in blocks:
        module.set_submodule(name, _plain_repvgg(module.get_submodule(name)))
    return module


def _plain_repvgg(block: RepVGGBlock) -> nn.Sequential:
    dense = block.rbr_dense.conv
    weight, bias = copy.deepcopy(block).double().get_equivalent_kernel_bias()
    conv = copy.deepcopy(dense)
    conv.weight = nn.Parameter(weight.detach().to(dense.weight.dtype), requires_grad=False)
    conv.bias = nn.Parameter(bias.detach().to(dense.weight.dtype), requires_grad=False)
    return nn.Sequential(conv, block.nonlinearity).eval()
