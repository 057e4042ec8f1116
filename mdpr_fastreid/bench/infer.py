"""Inference against the published order of computation and against FastReID's SBS and MGN."""

import argparse
import copy
import functools
import statistics
import time
from collections import defaultdict
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

from mdpr_fastreid.bench import report
from mdpr_fastreid.bench.components import measure_components
from mdpr_fastreid.bench.cost import multiply_adds, parameters
from mdpr_fastreid.bench.networks import (
    add_network_arguments,
    check_network_arguments,
    chosen_settings,
    described,
    is_config_file,
    network_config,
    synthetic_batch,
    title_of,
)
from mdpr_fastreid.bench.reference import PublishedOrder
from mdpr_fastreid.bench.rounds import REFERENCE, interleaved, peak_memory, speed, spread_cell, wait
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.inference import PRECISIONS, fold
from mdpr_fastreid.modeling import build_model

HELP = "inference against the published order of computation, and FastReID's SBS and MGN"

SETTINGS = {
    REFERENCE: "MDPR in the published order of computation: float32, NCHW, nothing folded or left out",
    "ours": "MDPR, only what reaches the features",
    "folded-float32": "MDPR folded",
    "folded-bfloat16": "MDPR folded, in bfloat16",
    "folded-float16": "MDPR folded, in float16; on a GPU",
    "sbs": "FastReID's SBS, as the toolbox runs it",
    "mgn": "FastReID's MGN, as the toolbox runs it",
}

_FOLDED = "folded "
"""Before the path of a config: its model folded."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Network, images, rounds, device and where the results go."""
    add_network_arguments(parser, SETTINGS, "infer")


def run(args: argparse.Namespace) -> int:
    """Time all settings in interleaved rounds, print the table and write it."""
    check_network_arguments(args)
    names = chosen_settings(args, SETTINGS)
    about = described(args)
    if args.components:
        rows = _component_rows([name for name in names if _method_of(name) == "mdpr"], args)
        print(report.add_run("infer_components", rows, COMPONENT_COLUMNS, args.output, about))
        return 0
    print(report.add_run("infer", _rows(_with_folded(names, args), args), _COLUMNS, args.output, about))
    return 0


def _with_folded(names: list[str], args: argparse.Namespace) -> list[str]:
    """Each config's model also folded, if it folds."""
    with_folded = []
    for name in names:
        with_folded.append(name)
        if is_config_file(name):
            try:
                fold(_model(args, name))
                with_folded.append(f"{_FOLDED}{name}")
            except UsageError as error:
                print(f"{title_of(name)}: {error}")
    return with_folded


def _method_of(setting: str) -> str:
    """What :func:`network_config` takes."""
    if is_config_file(setting):
        return setting.removeprefix(_FOLDED)
    return setting if setting in ("sbs", "mgn") else "mdpr"


def prepare(args: argparse.Namespace, setting: str) -> Callable[[], torch.Tensor]:
    """What computes the features of a batch of noise, with fresh weights, once for each call."""
    return _caller(network(args, setting), args, setting)


def network(args: argparse.Namespace, setting: str, model: nn.Module | None = None) -> nn.Module:
    """What a setting runs.

    Args:
        args: of the command.
        setting: of :data:`SETTINGS`.
        model: the model to make it of; a new one with fresh weights by default.
    """
    model = _model(args, setting) if model is None else model
    if setting == REFERENCE:
        return PublishedOrder(copy.deepcopy(model)).eval()
    if setting.startswith(_FOLDED):
        return fold(model)
    if setting.startswith("folded"):
        return fold(model, PRECISIONS[setting.partition("-")[2]])
    return model.eval()


def settle_batch_norms(model: nn.Module, images: torch.Tensor) -> None:
    """Set the batch norms' statistics to those of some images, in place: fresh ones let features grow beyond float16.

    Args:
        model: from images to features.
        images: ``[B, 3, H, W]``, 0 to 255.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        model(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def _model(args: argparse.Namespace, setting: str) -> nn.Module:
    torch.manual_seed(args.seed)
    return build_model(network_config(_method_of(setting), args)).eval()


def _caller(network: nn.Module, args: argparse.Namespace, setting: str) -> Callable[[], torch.Tensor]:
    batch = synthetic_batch(args, network_config(_method_of(setting), args), is_train=False)

    def call() -> torch.Tensor:
        with torch.no_grad():
            return network(batch)

    return call


def _networks(names: list[str], args: argparse.Namespace) -> dict[str, nn.Module]:
    @functools.cache
    def settled(method: str) -> nn.Module:
        model = _model(args, method)
        settle_batch_norms(model, synthetic_batch(args)["images"])
        return model

    return {name: network(args, name, settled(_method_of(name))) for name in names}


def _rows(names: list[str], args: argparse.Namespace) -> list[dict]:
    memory = {name: peak_memory(prepare, name, args) for name in names}
    networks = _networks(names, args)
    calls = {name: _caller(one, args, name) for name, one in networks.items()}
    features = {name: call() for name, call in calls.items()}
    seconds = interleaved(calls, args.repeats, args.device)
    rows = []
    for name in names:
        row = {"setting": _row_title(name), "what": SETTINGS.get(name, "a config's model"), "seconds": seconds[name]}
        row |= speed(seconds[name], seconds[args.against], args.batch)
        row |= {
            "peak_gib": memory[name],
            "multiply_adds": multiply_adds(networks[name], args.size),
            "parameters": parameters(networks[name]),
        }
        if _comparable(features[name], features[args.against]):
            row["smallest_cosine"] = float(F.cosine_similarity(features[name], features[args.against]).min())
        rows.append(row)
    return rows


def _row_title(setting: str) -> str:
    folded = _FOLDED if setting.startswith(_FOLDED) else ""
    return f"{folded}{title_of(setting.removeprefix(_FOLDED))}"


def _comparable(first: object, second: object) -> bool:
    """Whether both are features of one length: a model may give a dict of tensors."""
    return isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor) and first.shape == second.shape


def _component_rows(names: list[str], args: argparse.Namespace) -> list[dict]:
    networks = _networks(names, args)

    def now() -> float:
        wait(args.device)
        return time.perf_counter()

    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for round_number in range(args.repeats + 1):
        for name, one in networks.items():
            for component, seconds in measure_components(one, _caller(one, args, name), now).items():
                if round_number:
                    times[name, component].append(seconds)
    rows = []
    for name, one in networks.items():
        costs = component_multiply_adds(one, _caller(one, args, name))
        total = sum(statistics.median(values) for key, values in times.items() if key[0] == name)
        for component in costs:
            seconds = statistics.median(times[name, component])
            row = {"setting": name, "component": component, "milliseconds": seconds / args.batch * 1e3}
            rows.append(row | {"share": seconds / total, "multiply_adds": costs[component] // args.batch})
    return rows


def component_multiply_adds(model: nn.Module, call: Callable[[], object]) -> dict[str, int]:
    """Multiply-adds of each component of a model in one call of it."""
    with FlopCounterMode(display=False) as counter:
        flops = measure_components(model, call, counter.get_total_flops)
    return {component: int(count) // 2 for component, count in flops.items()}


COMPONENT_COLUMNS = {
    "setting": lambda row: row["setting"],
    "component": lambda row: row["component"],
    "ms an image": lambda row: f"{row['milliseconds']:.1f}",
    "share": lambda row: f"{row['share']:.1%}",
    "G multiply-adds an image": lambda row: f"{row['multiply_adds'] / 1e9:.2f}" if "multiply_adds" in row else "",
}

_COLUMNS = {
    "setting": lambda row: row["setting"],
    "images a second": lambda row: f"{row['images_per_second']['median']:.2f}",
    "times reference, median (min - max)": lambda row: spread_cell(row["ratio"]),
    "peak memory, GiB": lambda row: "" if row["peak_gib"] is None else f"{row['peak_gib']:.2f}",
    "G multiply-adds an image": lambda row: f"{row['multiply_adds'] / 1e9:.2f}",
    "M parameters": lambda row: f"{row['parameters'] / 1e6:.1f}",
    "smallest cosine to reference": lambda row: f"{row['smallest_cosine']:.6f}" if "smallest_cosine" in row else "",
}
