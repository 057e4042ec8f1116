#!/usr/bin/env python3
"""What makes SynthReID hard: trained networks on renderings of their test set with one difficulty changed.

python projects/Benchmark/knobs.py logs/compare/occluded_small/runs/sbs/seed0
"""

import os
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# The checkout, if the plugin is not installed
sys.path[:0] = [str(Path(__file__).parents[2])]

import mdpr_fastreid  # noqa: E402, F401  isort: skip
import torch  # noqa: E402
from fastreid.data.datasets import DATASET_REGISTRY  # noqa: E402
from tabulate import tabulate  # noqa: E402

from mdpr_fastreid.config import read_config  # noqa: E402
from mdpr_fastreid.data import build_test_loader  # noqa: E402
from mdpr_fastreid.data.synth import PRESETS, Preset, RenderError, adjusted, ensure  # noqa: E402
from mdpr_fastreid.errors import UsageError  # noqa: E402
from mdpr_fastreid.evaluation import collect_outputs, evaluator_for  # noqa: E402
from mdpr_fastreid.modeling import build_model  # noqa: E402
from mdpr_fastreid.progress import counted  # noqa: E402
from mdpr_fastreid.weights import load_for_evaluation  # noqa: E402

ROWS = (
    "look_alike_share=0",
    "look_alike_share=1",
    "viewpoint=0",
    "illumination=0",
    "illumination=0.4",
    "occlusion=0,query_occlusion=0",
    "box_error=0",
    "box_error=0.6",
    "crowd=0",
    "sensor=0",
    "sensor=0.5",
)
"""Each difficulty taken away; those of which there can be more, twice as strong besides."""


def main(words: list[str] | None = None) -> int:
    """Returns the exit code: 0, or 2 for a mistake of the user's (one line)."""
    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder, with config.yaml and model_final.pth")
    row = {"metavar": "KNOB=VALUE,...", "help": "a row; can be given again (default: each difficulty by itself)"}
    parser.add_argument("--set", action="append", dest="rows", **row)
    parser.add_argument("--root", type=Path, default=Path("logs/knobs"), help="where the sets are rendered")
    args = parser.parse_args(words)
    try:
        found = measured([Path(run) for run in args.runs], args.rows or ROWS, args.root)
    except UsageError as error:
        print(f"{Path(__file__).name}: {error}", file=sys.stderr)
        return 2
    print("mAP / Rank-1\n", tabulate(found, ["set", *args.runs], tablefmt="github"), sep="\n")
    return 0


def measured(runs: list[Path], rows: list[str], root: Path) -> list[list[str]]:
    """The set as it is and a row for each change: its name, and mAP / Rank-1 of each run.

    Args:
        runs: folders of runs that were tested on one set of SynthReID.
        rows: changed knobs, ``KNOB=VALUE`` separated by commas.
        root: a folder of each set is made there.

    Raises:
        UsageError: a folder is no run, the runs have other test sets, or a knob or its value does not exist.
    """
    networks = [Network(run) for run in runs]
    presets = {network.preset for network in networks}
    if len(presets) > 1:
        raise UsageError(f"the runs were tested on {' and '.join(sorted(presets))}: give runs of one set")
    whole = PRESETS[presets.pop()]
    changed = {"as it is": whole} | {row: changed_by(row, whole) for row in rows}
    table = []
    for name, preset in changed.items():
        render(preset, root / name)
        with data_root(root / name):
            table.append([name, *(network.evaluated() for network in networks)])
        print(" | ".join(table[-1]), file=sys.stderr)
    return table


def changed_by(row: str, preset: Preset) -> Preset:
    """The preset with some knobs changed: ``"occlusion=0,query_occlusion=0"``."""
    try:
        return adjusted(preset, dict(change.split("=", 1) for change in row.split(",")))
    except ValueError as error:
        raise UsageError(f"--set {row}: {error}") from error


def render(preset: Preset, root: Path) -> None:
    """Render a set unless it is there."""
    try:
        ensure(root, preset, workers=os.cpu_count() or 1, progress=counted(f"rendering {root.name}"))
    except RenderError as error:
        raise UsageError(str(error)) from error


@contextmanager
def data_root(root: Path) -> Iterator[None]:
    """Data sets are looked for in this folder."""
    before = os.environ.get("FASTREID_DATASETS")
    os.environ["FASTREID_DATASETS"] = str(root)
    try:
        yield
    finally:
        if before is None:
            del os.environ["FASTREID_DATASETS"]
        else:
            os.environ["FASTREID_DATASETS"] = before


class Network:
    """The trained network of a run.

    Args:
        run: its folder.

    Raises:
        UsageError: there is none in it, or it was not tested on SynthReID's images.
    """

    def __init__(self, run: Path):
        if not (run / "config.yaml").is_file():
            raise UsageError(f"{run} has no config.yaml: give the folder of a run, runs/METHOD/seedN of a comparison")
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.cfg = read_config(run / "config.yaml", ["MODEL.BACKBONE.PRETRAIN", False, "MODEL.DEVICE", device])
        self.data = self.cfg.DATASETS.TESTS[0]
        self.preset = getattr(DATASET_REGISTRY.get(self.data), "preset", "")
        if self.preset not in PRESETS or not PRESETS[self.preset].query_images:
            raise UsageError(f"{run} was tested on {self.data}, and only SynthReID's sets of images have knobs")
        self.model = build_model(self.cfg)
        load_for_evaluation(self.model, str(run / "model_final.pth"))

    def evaluated(self) -> str:
        """mAP and Rank-1 on the test set under ``FASTREID_DATASETS``."""
        loader, queries = build_test_loader(self.cfg, self.data)
        evaluator = evaluator_for(self.cfg, queries, self.model)
        metrics = evaluator.measure(collect_outputs(self.cfg, self.model, loader, evaluator), reranked=False).metrics
        return f"{metrics['mAP']:.1f} / {metrics['Rank-1']:.1f}"


if __name__ == "__main__":
    sys.exit(main())
