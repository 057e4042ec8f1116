"""A training step against the published one and against FastReID's SBS and MGN."""

import argparse
import itertools
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from fastreid.config import CfgNode
from fastreid.engine import DefaultTrainer
from torch import nn

from mdpr_fastreid.bench import report
from mdpr_fastreid.bench.components import measure_components
from mdpr_fastreid.bench.cost import parameters, training_multiply_adds
from mdpr_fastreid.bench.infer import COMPONENT_COLUMNS, component_multiply_adds
from mdpr_fastreid.bench.networks import (
    add_network_arguments,
    check_network_arguments,
    chosen_settings,
    described,
    network_config,
    synthetic_batch,
    title_of,
)
from mdpr_fastreid.bench.reference import PublishedOrder, PublishedTrainer
from mdpr_fastreid.bench.rounds import REFERENCE, interleaved, peak_memory, speed, spread_cell, wait
from mdpr_fastreid.engine.freed_memory import keep_freed_memory
from mdpr_fastreid.engine.steps import TrainingStep
from mdpr_fastreid.engine.storage import DeferredStorage
from mdpr_fastreid.engine.trainer import Trainer

HELP = "a training step against the published one, and FastReID's SBS and MGN"


class Setting(NamedTuple):
    """What a training step is measured with."""

    what: str
    method: str = "mdpr"
    overrides: tuple = ()
    """``KEY, VALUE, ...`` for the config."""
    keeps: bool = True
    """Whether what it frees on a CPU stays with the process, as with :class:`Trainer`."""


_BFLOAT16 = ("SOLVER.AMP.DTYPE", "bfloat16", "MODEL.CHANNELS_LAST", True)

SETTINGS = {
    REFERENCE: Setting(
        "MDPR in the published order of computation, every loss read by the host at every step",
        overrides=("MODEL.CHANNELS_LAST", False),
        keeps=False,
    ),
    "ours": Setting("MDPR as it is trained by default"),
    "returned": Setting("MDPR as it is trained by default, but what it frees goes back to the system", keeps=False),
    "plain": Setting(
        "MDPR without Winograd's algorithm, the fused optimizer step and kept memory",
        overrides=("MODEL.CHANNELS_LAST", False, "SOLVER.WINOGRAD", False, "SOLVER.FUSED", False),
        keeps=False,
    ),
    "channels-last": Setting("MDPR on maps stored channels-last", overrides=("MODEL.CHANNELS_LAST", True)),
    "bfloat16": Setting("MDPR in bfloat16 on channels-last maps, where a processor has it", overrides=_BFLOAT16),
    "bfloat16-plain": Setting(
        "the same, with PyTorch's gradients of convolutions", overrides=(*_BFLOAT16, "SOLVER.PRODUCT_GRADIENTS", False)
    ),
    "compiled": Setting("MDPR, compiled", overrides=("MODEL.COMPILE", True)),
    "checkpointed-4": Setting("MDPR, stage 4 alone computed again", overrides=("MODEL.MDPR.CHECKPOINT_STAGES", (4,))),
    "checkpointed": Setting(
        "MDPR, stages 3 and 4 computed again in the backward pass", overrides=("MODEL.MDPR.CHECKPOINT_STAGES", (3, 4))
    ),
    "accumulated": Setting("MDPR, the batch in two parts, the losses over both", overrides=("SOLVER.ACCUMULATE", 2)),
    "sbs": Setting("FastReID's SBS, as the toolbox trains it", "sbs", keeps=False),
    "mgn": Setting("FastReID's MGN, as the toolbox trains it", "mgn", keeps=False),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Network, images, rounds, device and where the results go."""
    add_network_arguments(parser, SETTINGS, "train")


def run(args: argparse.Namespace) -> int:
    """Time all settings in interleaved rounds, print the table and write it."""
    check_network_arguments(args)
    names = chosen_settings(args, SETTINGS)
    precision = "by AMP, float16 where no other is named" if args.device != "cpu" else "float32 where no other is named"
    about = {**described(args), "precision": precision}
    if args.components:
        rows = _component_rows([name for name in names if _has_components(name)], args)
        print(report.add_run("train_components", rows, COMPONENT_COLUMNS, args.output, about))
        return 0
    print(report.add_run("train", _rows(names, args), _COLUMNS, args.output, about))
    return 0


def _setting(name: str) -> Setting:
    """One of ours, or that of a config's path."""
    return SETTINGS.get(name) or Setting("a config's model, as the plugin trains it", name)


def _has_components(name: str) -> bool:
    """Whether a step of it is one forward pass of MDPR's and one backward pass."""
    setting = _setting(name)
    return setting.method == "mdpr" and "SOLVER.ACCUMULATE" not in setting.overrides


def _config(args: argparse.Namespace, name: str) -> CfgNode:
    return network_config(_setting(name).method, args, *_setting(name).overrides)


def trainer(args: argparse.Namespace, setting: str) -> TrainingStep:
    """The training step of a setting, whose loader gives one batch of noise for ever.

    Raises:
        UsageError: a setting's key has a value it cannot have.
    """
    torch.manual_seed(args.seed)
    cfg = _config(args, setting)
    # The toolbox's own trainer builds what is not ours
    builder = DefaultTrainer if setting in (REFERENCE, "sbs", "mgn") else Trainer
    model = builder.build_model(cfg)
    if setting == REFERENCE:
        model = PublishedOrder(model)
    model.train()
    optimizer, wrapper = builder.build_optimizer(cfg, model)
    batches = itertools.repeat(synthetic_batch(args, cfg))
    if setting == REFERENCE:
        return PublishedTrainer(model, batches, optimizer, wrapper)
    precision = cfg.SOLVER.AMP.DTYPE if cfg.SOLVER.AMP.ENABLED else "float32"
    return TrainingStep(model, batches, optimizer, wrapper, precision=precision, accumulate=cfg.SOLVER.ACCUMULATE)


def prepare(args: argparse.Namespace, setting: str) -> Callable[[], None]:
    """What makes one whole training step at each call: zero_grad, forward, losses, backward, optimizer."""
    if _on_cpu(args.device):
        keep_freed_memory(_setting(setting).keeps)
    return _step(trainer(args, setting))


def _on_cpu(device: str) -> bool:
    return torch.device(device).type == "cpu"


def _step(one: TrainingStep) -> Callable[[], None]:
    def step() -> None:
        with DeferredStorage(0) as one.storage:
            one.run_step()

    return step


def _rows(names: list[str], args: argparse.Namespace) -> list[dict]:
    memory = {name: peak_memory(prepare, name, args) for name in names}
    trainers = {name: trainer(args, name) for name in names}
    steps = {name: _step(one) for name, one in trainers.items()}
    seconds = interleaved(steps, args.repeats, args.device, before=_Allocator(steps, args.device))
    rows = []
    for name, one in trainers.items():
        row = {"setting": title_of(name), "what": _setting(name).what, "seconds": seconds[name]}
        row |= speed(seconds[name], seconds[args.against], args.batch)
        row |= {"peak_gib": memory[name], "parameters": parameters(one.model)}
        with DeferredStorage(0):
            row["multiply_adds"] = training_multiply_adds(one.add_gradients, synthetic_batch(args, _config(args, name)))
        rows.append(row)
    for row in rows:
        if row["peak_gib"] is not None:
            row["memory_ratio"] = row["peak_gib"] / memory[args.against]
    return rows


class _Allocator:
    """Called with the name of a setting, it has memory freed as with that setting.

    Where that changes, an untimed step follows: the first one allocates anew, or returns what was kept.
    """

    def __init__(self, steps: Mapping[str, Callable[[], None]], device: str) -> None:
        self._steps, self._on_cpu = steps, _on_cpu(device)
        self._keeps: bool | None = None

    def __call__(self, name: str) -> None:
        keeps = _setting(name).keeps
        if self._on_cpu and keeps != self._keeps:
            self._keeps = keeps
            keep_freed_memory(keeps)
            self._steps[name]()


def _component_rows(names: list[str], args: argparse.Namespace) -> list[dict]:
    trainers = {name: trainer(args, name) for name in names}
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for round_number in range(args.repeats + 1):
        for name, one in trainers.items():
            for component, seconds in _component_seconds(one, args.device).items():
                if round_number:
                    times[name, component].append(seconds)
    rows = []
    for name, one in trainers.items():
        medians = {component: statistics.median(values) for (of, component), values in times.items() if of == name}
        with DeferredStorage(0):
            costs = component_multiply_adds(one.model, lambda one=one: one.model(synthetic_batch(args)))
        for component, seconds in medians.items():
            row = {"setting": name, "component": component, "milliseconds": seconds / args.batch * 1e3}
            row["share"] = seconds / sum(medians.values())
            if component in costs:
                row["multiply_adds"] = costs[component] // args.batch
            rows.append(row)
    return rows


def _component_seconds(one: TrainingStep, device: str) -> dict[str, float]:
    """Seconds of a step: the forward pass by component, the backward pass and the optimizer as a whole each."""

    def now() -> float:
        wait(device)
        return time.perf_counter()

    marks: dict[str, float] = {}
    model: nn.Module = one.model

    def mark(name: str) -> None:
        marks[name] = now()

    handle = model.register_forward_hook(lambda *_: mark("forward"))
    before = one.optimizer.register_step_pre_hook(lambda *_: mark("optimizer"))
    try:
        start = now()
        seconds = measure_components(model, _step(one), now)
        end = now()
    finally:
        handle.remove()
        before.remove()
    forward = marks["forward"] - start
    backward, optimizer = marks["optimizer"] - marks["forward"], end - marks["optimizer"]
    between = next(reversed(seconds))
    seconds[between] = forward - sum(value for name, value in seconds.items() if name != between)
    return seconds | {"backward": backward, "optimizer": optimizer}


_COLUMNS = {
    "setting": lambda row: row["setting"],
    "images a second": lambda row: f"{row['images_per_second']['median']:.3f}",
    "times reference, median (min - max)": lambda row: spread_cell(row["ratio"]),
    "peak memory, GiB": lambda row: "" if row["peak_gib"] is None else f"{row['peak_gib']:.2f}",
    "of reference's": lambda row: f"{row['memory_ratio']:.2f}" if "memory_ratio" in row else "",
    "G multiply-adds an image": lambda row: f"{row['multiply_adds'] / 1e9:.2f}",
    "M parameters": lambda row: f"{row['parameters'] / 1e6:.1f}",
}
