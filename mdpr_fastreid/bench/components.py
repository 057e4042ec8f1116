"""Where the time and the arithmetic of MDPR go, part by part."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn

from mdpr_fastreid.modeling.features import BRANCHES, FUSED, READINGS


def _modules(*names: str) -> str:
    """Modules of the branches by which they make these readings, as an expression."""
    return "|".join(rf"{READINGS[name].branch}\.({'|'.join(READINGS[name].modules)})" for name in names)


COMPONENTS = {
    "trunk": r"backbone\.trunk",
    **{
        f"{branch} branch, stage {stage}": rf"backbone\.{branch}\.stage{stage}"
        for branch in BRANCHES
        for stage in (3, 4)
    },
    "embeddings": _modules(*FUSED),
    "attention makers": r"soft\.(attention_maker[34]|guidance)",
    "attention pooling": r"soft\.pooling[34]",
    "fusion": r"heads\.fusion",
    "heads": r"heads\.(embedding_heads|predictors)",
    "losses": r"heads\.(identity_losses|branch_losses|\w+_loss)",
}
"""Names of MDPR's modules, as expressions, by what they are part of; wrappers' names before them do not matter."""

BETWEEN = "between the modules"
"""Sums, concatenations, softmax, and whatever else no module computes."""


def measure_components(model: nn.Module, run: Callable[[], object], read: Callable[[], float]) -> dict[str, float]:
    """How far a counter goes in each component of a model during a call.

    Args:
        model: MDPR, or what was made of it with its modules' names.
        run: calls the model, once.
        read: the counter: a clock, or the multiply-adds so far.

    Returns:
        The counter's way in each component, and in :data:`BETWEEN` the rest of the call.
    """
    spent: dict[str, float] = defaultdict(float)
    start = None
    with _read_around_components(model, spent, read):
        start = read()
        run()
        spent[BETWEEN] = read() - start - sum(spent.values())
    return {name: spent[name] for name in (*COMPONENTS, BETWEEN) if name in spent}


def component_of(module_name: str) -> str | None:
    """The component that a module is of, by its name in the model; None for what holds several."""
    for component, pattern in COMPONENTS.items():
        if re.search(rf"(^|\.)({pattern})(\.|$)", module_name):
            return component
    return None


@contextmanager
def _read_around_components(model: nn.Module, spent: dict[str, float], read: Callable[[], float]) -> Iterator[None]:
    open_calls: list[str] = []
    handles = []

    def watch(module: nn.Module, component: str) -> None:
        """Add what a module's calls take to a component; nested modules of one component count once."""
        started = []

        def enter(*_) -> None:
            # A module inside one of the same component is counted with it
            started.append(None if component in open_calls else read())
            open_calls.append(component)

        def leave(*_) -> None:
            open_calls.pop()
            start = started.pop()
            if start is not None:
                spent[component] += read() - start

        handles.append(module.register_forward_pre_hook(enter))
        handles.append(module.register_forward_hook(leave))

    for name, module in model.named_modules():
        component = component_of(name)
        if component is not None:
            watch(module, component)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
