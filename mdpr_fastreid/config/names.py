"""Names in a config, and the registries that know them: FastReID's, the plugin's, and so whatever a project adds.

Registries are imported when they are asked: this package is imported before the parts that fill them.
"""

import difflib
import importlib
from collections.abc import Collection
from typing import Any

from fastreid.config import CfgNode
from fastreid.utils.registry import Registry

from mdpr_fastreid.errors import SettingsError


class UnknownNameError(SettingsError, KeyError):
    """A name that a registry does not know; still the ``KeyError`` that callers of ``Registry.get`` may expect."""

    __str__ = Exception.__str__


class NamedRegistry(Registry):
    """FastReID's registry, with the classes' own ``name``, if they have one, instead of ``__name__``."""

    def register(self, kind: type | None = None) -> Any:
        if kind is None:
            return self.register
        self._do_register(getattr(kind, "name", kind.__name__), kind)
        return kind


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
    return f"did you mean {similar[0]}?" if similar else f"known: {', '.join(sorted(filter(None, known)))}"


_REGISTRIES = {
    "META_ARCH_REGISTRY": "fastreid.modeling.meta_arch",
    "BACKBONE_REGISTRY": "fastreid.modeling.backbones",
    "REID_HEADS_REGISTRY": "fastreid.modeling.heads",
    "DATASET_REGISTRY": "fastreid.data.datasets",
    "SAMPLER_REGISTRY": "mdpr_fastreid.data",
    "FIELD_REGISTRY": "mdpr_fastreid.data",
    "DISTANCE_REGISTRY": "mdpr_fastreid.evaluation",
    "DISTILLATION_REGISTRY": "mdpr_fastreid.modeling.losses",
    "FUSION_REGISTRY": "mdpr_fastreid.modeling.heads",
    "PART_GROUPS": "mdpr_fastreid.data.masks",
}
"""Where the registries are that the tables of keys name."""

_BESIDE_REGISTERED = {"PART_GROUPS": "", "DISTILLATION_REGISTRY": "cosine"}
"""What a key accepts that is registered nowhere."""


def known_names(registry: str, cfg: CfgNode) -> Collection[str]:
    """The names that a registry of the tables of keys has under this config."""
    if registry == "torch.optim":
        return _optimizers()
    names = _names(getattr(importlib.import_module(_REGISTRIES[registry]), registry))
    if registry in _BESIDE_REGISTERED:
        return [_BESIDE_REGISTERED[registry], *names]
    return [*names, *(name for name, _ in cfg.DATASETS.CUSTOM)] if registry == "DATASET_REGISTRY" else names


def _names(registry: Registry) -> list[str]:
    return list(registry._obj_map)  # FastReID's registries have no other way to list what is in them


_NOT_FOR_NETWORKS = {"Optimizer", "LBFGS", "Muon", "SparseAdam", "SWA"}
"""They need a closure, matrices, sparse gradients or another optimizer, which FastReID does not give them."""


def _optimizers() -> Collection[str]:
    from fastreid.solver import optim
    from torch.optim import Optimizer

    found = {name for name, kind in vars(optim).items() if isinstance(kind, type) and issubclass(kind, Optimizer)}
    return sorted(found - _NOT_FOR_NETWORKS)
