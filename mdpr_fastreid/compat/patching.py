"""A patch of FastReID, described as data: what it replaces, why, since when, until when, and for which source."""

import enum
import functools
import graphlib
import hashlib
import importlib
import inspect
import logging
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

from yacs.config import CfgNode

logger = logging.getLogger("mdpr_fastreid")


@dataclass(frozen=True)
class Patch:
    """One replacement in FastReID.

    Args:
        target: what is replaced: ``package.module:name`` or ``package.module:Class.method``.
        fixes: what fails without it, in one sentence.
        since: where it fails: ``Python 3.10``, ``PyTorch 2.0``, ``every version``, ``every version, without CUDA``.
        until: what has to change before the patch can go.
        source: first 12 hexadecimal digits of the SHA-256 of the stock source, see :func:`source_digest`.
        make: gets the stock object and returns what takes its place.
        needed: whether the toolbox fails here; where it works the patch does nothing.
        after: targets of patches that have to come before this one.
        source_of: where that stock source is, if the target itself is no code of FastReID's.
    """

    target: str
    fixes: str
    since: str
    until: str
    source: str
    make: Callable[[Any], Any]
    needed: Callable[[], bool] = lambda: True
    after: tuple[str, ...] = ()
    source_of: str = ""


class State(enum.Enum):
    """What became of a patch."""

    APPLIED = "applied"
    NOT_NEEDED = "not needed here"
    NOT_YET = "not applied yet"
    DIFFERS = "left alone: FastReID's source differs from the one it was written for"
    MISSING = "left alone: FastReID has no such object"


class _Applied(NamedTuple):
    stock: Any
    replacement: Any


class Patches:
    """Patches in the order in which they can be applied.

    Args:
        patches: in any order.

    Raises:
        ValueError: two patches have one target, one comes after a target that none has, or they wait for each other.
    """

    def __init__(self, patches: Iterable[Patch]) -> None:
        self._patches = _ordered(list(patches))
        self._applied: dict[str, _Applied] = {}
        self._left_alone: dict[str, State] = {}

    def __iter__(self):
        return iter(self._patches)

    def apply(self) -> None:
        """Apply each patch once; call it again after a failure, and it goes on with those that are left.

        A target whose source is not the expected one is left as it is, and one line of the log names all of these.
        """
        for patch in self._patches:
            if patch.target in self._applied:
                continue
            self._left_alone.pop(patch.target, None)
            if (state := _obstacle(patch)) is not None:
                self._left_alone[patch.target] = state
                continue
            stock = resolve(patch.target)
            replacement = patch.make(stock)
            _replace(patch.target, stock, replacement)
            self._applied[patch.target] = _Applied(stock, replacement)
        unlike = [target for target, state in self._left_alone.items() if state in (State.DIFFERS, State.MISSING)]
        if unlike:
            logger.warning(
                f"FastReID differs from the one that mdpr_fastreid patches in {', '.join(unlike)}: left as it is; "
                "`python -m mdpr_fastreid doctor` shows what that patch fixes"
            )

    def state(self, patch: Patch) -> State:
        """What became of a patch."""
        if patch.target not in self._applied:
            return self._left_alone.get(patch.target, State.NOT_YET)
        current = resolve(patch.target)
        return State.APPLIED if current is self._applied[patch.target].replacement else State.DIFFERS

    def stock(self, target: str) -> Any:
        """The stock object of a target, patched or not."""
        return self._applied[target].stock if target in self._applied else resolve(target)


def source_digest(target: str) -> str:
    """First 12 hexadecimal digits of the SHA-256 of an object's source.

    Args:
        target: ``package.module:name`` or ``package.module:Class.method``.
    """
    return hashlib.sha256(inspect.getsource(resolve(target)).encode()).hexdigest()[:12]


def resolve(target: str) -> Any:
    """The object that ``package.module:name`` names now.

    Raises:
        ImportError, AttributeError: there is none.
    """
    holder, name = _holder(target)
    return getattr(holder, name)


def _holder(target: str) -> tuple[Any, str]:
    """The module, class or object that has the target as an attribute, and the attribute's name."""
    module, _, path = target.partition(":")
    *outer, name = path.split(".")
    return functools.reduce(getattr, outer, importlib.import_module(module)), name


def _ordered(patches: list[Patch]) -> list[Patch]:
    by_target = {patch.target: patch for patch in patches}
    if len(by_target) < len(patches):
        twice = sorted({patch.target for patch in patches if by_target[patch.target] is not patch})
        raise ValueError(f"two patches have the target {', '.join(twice)}; one would undo the other")
    for patch in patches:
        if unknown := set(patch.after) - by_target.keys():
            raise ValueError(f"the patch of {patch.target} comes after {', '.join(sorted(unknown))}, which none has")
    try:
        order = graphlib.TopologicalSorter({patch.target: patch.after for patch in patches}).static_order()
        return [by_target[target] for target in order]
    except graphlib.CycleError as error:
        raise ValueError(f"patches wait for each other: {' -> '.join(error.args[1])}") from error


def _obstacle(patch: Patch) -> State | None:
    """Why a patch is not applied, or None if it is."""
    try:
        resolve(patch.target)
        digest = source_digest(patch.source_of or patch.target)
    except (ImportError, AttributeError):
        return State.MISSING
    except (OSError, TypeError):  # it has no source: something else took its place
        return State.DIFFERS
    if digest != patch.source:
        return State.DIFFERS
    return None if patch.needed() else State.NOT_NEEDED


def _replace(target: str, stock: Any, replacement: Any) -> None:
    """Put the replacement where the stock object is, also where modules imported it by name.

    ``from fastreid.solver import build_optimizer`` binds the function in the importing module, so assigning it in its
    own module alone would patch only some of its callers.
    """
    holder, name = _holder(target)
    if isinstance(holder, CfgNode):  # takes assignments for keys
        object.__setattr__(holder, name, replacement)
    else:
        setattr(holder, name, replacement)
    if not isinstance(holder, ModuleType):
        return
    if not getattr(stock, "__module__", "").startswith("fastreid."):
        return  # another library's, which only this one module of FastReID's has to see replaced
    own_module = sys.modules.get(getattr(replacement, "__module__", None))
    for module in list(sys.modules.values()):
        if module is own_module or not isinstance(module, ModuleType):
            continue
        for bound in [key for key, value in list(vars(module).items()) if value is stock]:
            setattr(module, bound, replacement)
