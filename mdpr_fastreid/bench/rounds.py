"""Times settings in interleaved rounds, and finds the peak memory of each in a process of its own."""

import argparse
import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from mdpr_fastreid.bench.processes import in_new_process, resident_memory, set_threads
from mdpr_fastreid.progress import Progress

REFERENCE = "reference"
"""The setting that the others' ratios are to, unless ``--against`` names another."""

Prepare = Callable[[argparse.Namespace, str], Callable[[], object]]
"""From the arguments and the name of a setting to what runs it once."""


def interleaved(
    runs: Mapping[str, Callable[[], object]],
    repeats: int,
    device: str,
    before: Callable[[str], object] = lambda name: None,
) -> dict[str, list[float]]:
    """Seconds of each run in each round: all runs have their turn before any has its next.

    What slows a machine for a while slows all of a round, so that ratios within rounds hold where times do not. A first
    round, which warms up, is not counted.

    Args:
        runs: what to time, by name.
        repeats: rounds that count.
        device: what the runs compute on; a GPU is waited for.
        before: called with the name of a run before it is timed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    progress = Progress((repeats + 1) * len(runs), "measuring")
    for round_number in range(repeats + 1):
        for name, run in runs.items():
            before(name)
            elapsed = timed(run, device)
            if round_number:
                seconds[name].append(elapsed)
            progress.step(f"{name}: {elapsed:.2f} s")
    progress.close()
    return seconds


def timed(run: Callable[[], object], device: str) -> float:
    """Seconds of one call, to the end of what it started on a GPU."""
    wait(device)
    start = time.perf_counter()
    run()
    wait(device)
    return time.perf_counter() - start


def wait(device: str) -> None:
    """Wait until a GPU has done its work; a CPU has."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def speed(seconds: Sequence[float], reference: Sequence[float], images: int) -> dict[str, dict[str, float]]:
    """Images per second, and how many times as fast as the reference in the same round: each min, median and max.

    Args:
        seconds: of each round, for ``images`` images.
        reference: the reference's, of the same rounds.
    """
    return {
        "images_per_second": _spread([images / one for one in seconds]),
        "ratio": _spread([other / one for one, other in zip(seconds, reference, strict=True)]),
    }


def peak_memory(prepare: Prepare, setting: str, args: argparse.Namespace) -> float | None:
    """GiB that a setting takes at the most while it runs, weights and optimizer included, in a process of its own.

    On a GPU what PyTorch allocates there; on a CPU the process's resident memory beyond what it had before the network
    was built.

    Args:
        prepare: a function of a module, which the new process can import.
        setting: the name it is called with.
        args: likewise.

    Returns:
        None where the peak cannot be found: on a CPU, outside Linux.
    """
    if torch.device(args.device).type == "cpu" and not Path("/proc/self/clear_refs").exists():
        return None
    return in_new_process(_peak, setting, prepare, args)


def spread_cell(values: Mapping[str, float], digits: int = 2) -> str:
    """``median (min - max)`` for a table."""
    return f"{values['median']:.{digits}f} ({values['min']:.{digits}f} - {values['max']:.{digits}f})"


def _peak(setting: str, prepare: Prepare, args: argparse.Namespace) -> float:
    set_threads(args)
    on_gpu = torch.device(args.device).type == "cuda"
    before = 0.0 if on_gpu else resident_memory("VmRSS")
    run = prepare(args, setting)
    run()  # an optimizer makes its state in its first step
    gc.collect()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(args.device)
    else:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew: proc(5)
    run()
    wait(args.device)
    return torch.cuda.max_memory_allocated(args.device) / 2**30 if on_gpu else resident_memory("VmHWM") - before


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}
