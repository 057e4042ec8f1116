"""What a run ends with: FastReID's table of results, and where its files are."""

import json
import logging
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fastreid.config import CfgNode
from fastreid.evaluation import print_csv_format
from fastreid.utils import comm
from filelock import FileLock, Timeout
from torch import nn

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.io import write_whole

UNTRAINED = "untrained.json"
"""The file in ``OUTPUT_DIR`` with the metrics of the network before training."""

_ROOM_FOR_LOGS = 2**20


def make_output_dir(path: str) -> None:
    """Make ``OUTPUT_DIR``, where it is not there yet.

    Raises:
        UsageError: it cannot be made or written to, or its disk has no room for as much as a log.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(bytes(_ROOM_FOR_LOGS))
    except OSError as error:
        raise UsageError(f"OUTPUT_DIR {path} cannot be written to: {error.strerror}") from error


@contextmanager
def locked_output_dir(path: str) -> Iterator[None]:
    """Keep other trainings out of ``OUTPUT_DIR`` for as long as this one runs, on the main process.

    The system frees the lock when the process ends, however it ends.

    Raises:
        UsageError: another training is writing there.
    """
    if not comm.is_main_process():
        yield
        return
    lock = FileLock(Path(path) / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UsageError(
            f"OUTPUT_DIR {path}: another training is writing to it; wait for its end, or name another folder"
        ) from None
    except OSError as error:  # a file system without locks
        logging.getLogger("fastreid").warning(f"OUTPUT_DIR {path} cannot be locked ({error.strerror})")
        yield
        return
    try:
        yield
    finally:
        lock.release()


def check_room(path: str, model: nn.Module) -> None:
    """Find out before training, and not at its first checkpoint, that ``OUTPUT_DIR`` cannot hold one.

    Raises:
        UsageError: the weights and as much again of the optimizer's, which is the least, take more than is free.
    """
    needed = 2 * sum(value.nbytes for value in model.state_dict().values())
    free = shutil.disk_usage(path).free
    if free < needed:
        raise UsageError(
            f"OUTPUT_DIR {path}: a checkpoint takes {needed / 2**20:.0f} MiB or more, and {free / 2**20:.0f} are free; "
            "make room, or name another folder"
        )


def print_results(cfg: CfgNode, results: Mapping | None) -> None:
    """Print FastReID's table for every test set.

    Args:
        cfg: the run's config.
        results: as ``DefaultTrainer.test`` and ``train`` return them: the metrics of the one test set, or those of each
            set by its name; None or empty prints no table.
    """
    by_set = _by_set(cfg, results)
    untrained = _read_untrained_results(cfg)
    for name, metrics in by_set.items():
        print_csv_format(OrderedDict(dataset=name, **metrics))
        # Of several pairings, each has its own
        for key in (key for key in metrics if key.rpartition("/")[2] == "mAP" and key in untrained.get(name, {})):
            before, after = untrained[name][key], metrics[key]
            print(f"{name}: {key} {before:.2f} untrained, {after:.2f} trained ({after / before:.1f} times)")


def write_untrained_results(cfg: CfgNode, results: Mapping) -> None:
    """Keep what the untrained network reached in ``OUTPUT_DIR``, for the end of this run or of one that resumes it.

    Args:
        cfg: the run's config.
        results: as ``DefaultTrainer.test`` returns them.
    """
    path = Path(cfg.OUTPUT_DIR) / UNTRAINED
    by_set = {name: dict(metrics) for name, metrics in _by_set(cfg, results).items()}
    write_whole(path, json.dumps(by_set, default=float).encode())


def _read_untrained_results(cfg: CfgNode) -> dict[str, dict[str, float]]:
    path = Path(cfg.OUTPUT_DIR) / UNTRAINED
    return json.loads(path.read_text()) if cfg.TEST.EVAL_UNTRAINED and path.is_file() else {}


def _by_set(cfg: CfgNode, results: Mapping | None) -> Mapping:
    """The metrics of each test set by its name: FastReID leaves the name out where there is one set."""
    results = results or {}
    of_one_set = not any(isinstance(value, Mapping) for value in results.values())
    return {cfg.DATASETS.TESTS[0]: results} if results and of_one_set else results


def print_written_files(output_dir: str) -> None:
    """Print the paths of what a training run leaves for its user, as far as they are there.

    Args:
        output_dir: ``OUTPUT_DIR``.
    """
    names = ("model_final.pth", "model_best.pth", "metrics.json", "log.txt", "config.yaml")
    for path in (Path(output_dir, name) for name in names):
        if path.exists():
            print(f"wrote {path}")
