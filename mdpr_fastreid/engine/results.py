"""What a run ends with: FastReID's table of results, and where its files are."""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

from fastreid.config import CfgNode
from fastreid.evaluation import print_csv_format


def print_results(cfg: CfgNode, results: Mapping | None) -> None:
    """Print FastReID's table for every test set.

    Args:
        cfg: the run's config.
        results: as ``DefaultTrainer.test`` and ``train`` return them: the metrics of the one test set, or those of each
            set by its name; None or empty prints no table.
    """
    results = results or {}
    of_one_set = not any(isinstance(value, Mapping) for value in results.values())
    by_set = {cfg.DATASETS.TESTS[0]: results} if results and of_one_set else results
    for name, metrics in by_set.items():
        print_csv_format(OrderedDict(dataset=name, **metrics))


def print_written_files(output_dir: str) -> None:
    """Print the paths of what a training run leaves for its user, as far as they are there.

    Args:
        output_dir: ``OUTPUT_DIR``.
    """
    names = ("model_final.pth", "model_best.pth", "metrics.json", "log.txt", "config.yaml")
    for path in (Path(output_dir, name) for name in names):
        if path.exists():
            print(f"wrote {path}")
