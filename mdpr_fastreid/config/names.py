"""Names in a config, and the registries that know them: FastReID's, the plugin's, and so whatever a project adds.

Registries are imported when they are asked: this package is imported before the parts that fill them.
"""

import difflib
from collections.abc import Collection

from fastreid.config import CfgNode
from fastreid.utils.registry import Registry

from mdpr_fastreid.errors import UsageError


class UnknownNameError(UsageError, KeyError):
    """A name that a registry does not know; still the ``KeyError`` that callers of ``Registry.get`` may expect."""

    __str__ = Exception.__str__


def registered(registry: Registry, name: str) -> object:
    """What is registered under a name.

    Raises:
        UnknownNameError: nothing is; the message has the nearest name that is registered.
    """
    if name not in registry._obj_map:
        raise UnknownNameError(unknown_name(name, registry._name, _names(registry)))
    return registry.get(name)


def unknown_name(name: object, registry: str, known: Collection[str]) -> str:
    """The line about a name that is not registered."""
    return f"nothing is registered as {name!r} in {registry}; {nearest(name, known)}"


def nearest(name: object, known: Collection[str]) -> str:
    """``did you mean X?``, or the list of what there is."""
    similar = difflib.get_close_matches(str(name), known, n=1)
    return f"did you mean {similar[0]}?" if similar else f"known: {', '.join(sorted(known))}"


def known_names(registry: str, cfg: CfgNode) -> Collection[str]:
    """The names that a registry of the table of keys has under this config."""
    if registry == "META_ARCH_REGISTRY":
        from fastreid.modeling.meta_arch import META_ARCH_REGISTRY

        return _names(META_ARCH_REGISTRY)
    if registry == "BACKBONE_REGISTRY":
        from fastreid.modeling.backbones import BACKBONE_REGISTRY

        return _names(BACKBONE_REGISTRY)
    if registry == "REID_HEADS_REGISTRY":
        from fastreid.modeling.heads import REID_HEADS_REGISTRY

        return _names(REID_HEADS_REGISTRY)
    if registry == "DATASET_REGISTRY":
        from fastreid.data.datasets import DATASET_REGISTRY

        return [*_names(DATASET_REGISTRY), *(name for name, _ in cfg.DATASETS.CUSTOM)]
    if registry == "SAMPLER_REGISTRY":
        return _samplers()
    if registry == "torch.optim":
        return _optimizers()
    raise ValueError(f"config/names.py knows no registry {registry}")


def _names(registry: Registry) -> list[str]:
    return list(registry._obj_map)  # FastReID's registries have no other way to list what is in them


def _samplers() -> Collection[str]:
    try:
        from mdpr_fastreid.data import SAMPLER_REGISTRY
    except ImportError:
        from fastreid.data import samplers

        return [name for name in samplers.__all__ if name != "InferenceSampler"]
    return _names(SAMPLER_REGISTRY)


_NOT_FOR_NETWORKS = {"Optimizer", "LBFGS", "Muon", "SparseAdam", "SWA"}
"""They need a closure, matrices, sparse gradients or another optimizer, which FastReID does not give them."""


def _optimizers() -> Collection[str]:
    from fastreid.solver import optim
    from torch.optim import Optimizer

    found = {name for name, kind in vars(optim).items() if isinstance(kind, type) and issubclass(kind, Optimizer)}
    return sorted(found - _NOT_FOR_NETWORKS)
