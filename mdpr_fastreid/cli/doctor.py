"""``mdpr doctor``: what this installation is made of, and every patch of FastReID with its state."""

import argparse
import importlib.metadata
import os
import platform
import textwrap

import fastreid
import torch
from tabulate import tabulate

from mdpr_fastreid import __version__, compat
from mdpr_fastreid.compat.imports import FIXED_LINES
from mdpr_fastreid.compat.patching import State
from mdpr_fastreid.processor import computes

HELP = "print the environment, and every patch of FastReID with its state"

_PACKAGES = ("torchvision", "numpy", "Pillow", "faiss-cpu", "faiss-gpu", "yacs", "onnxruntime", "timm")
_UNLIKE = (State.DIFFERS, State.MISSING)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has none."""


def run(args: argparse.Namespace) -> int:
    """Print the report.

    Returns:
        0, or 1 where FastReID differs from what a patch was written for.
    """
    print(tabulate(_environment(), tablefmt="plain"))
    print("\nImports of FastReID's that are gone, fixed while its modules are read:")
    for module, lines in FIXED_LINES.items():
        print(*(f"  {module}: {line}" for line in lines), sep="\n")
    states = {patch: compat.patches().state(patch) for patch in compat.patches()}
    print(f"\n{len(states)} patches of FastReID:")
    for patch, state in states.items():
        print(f"  {patch.target}: {state.value}")
        print(textwrap.indent(textwrap.fill(f"{patch.fixes} Since: {patch.since}.", 110), "      "))
    unlike = [patch.target for patch, state in states.items() if state in _UNLIKE]
    if unlike:
        print(f"\n{len(unlike)} of them do not fit this FastReID: {', '.join(unlike)}")
        print("Install the version that they were written for: pip install --no-deps fastreid==1.4.0")
    return 1 if unlike else 0


def _environment() -> list[tuple[str, str]]:
    cuda = f"CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    gpus = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())) or "none"
    fast = [str(dtype).removeprefix("torch.") for dtype in (torch.bfloat16, torch.float16) if computes(dtype, "cpu")]
    return [
        ("mdpr-fastreid", __version__),
        ("fastreid", f"{_version('fastreid')}  {os.path.dirname(fastreid.__file__)}"),
        ("Python", f"{platform.python_version()}, {platform.system()} {platform.machine()}"),
        ("torch", f"{torch.__version__}, {cuda}"),
        ("GPUs", gpus),
        ("CPU", f"{os.cpu_count()} cores, {', '.join(fast) or 'no half precision'} in hardware"),
        *((name, _version(name)) for name in _PACKAGES),
        ("data sets in", os.path.abspath(os.getenv("FASTREID_DATASETS", "datasets"))),
    ]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
