"""From a command line to a config, and from an error to an exit code: what ``train_net.py`` needs besides FastReID."""

import difflib
import os
import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator

import torch
import torch.multiprocessing as mp
import yaml
from fastreid.config import CfgNode, get_cfg
from fastreid.engine import launch

from mdpr_fastreid.config import add_mdpr_config, config_file
from mdpr_fastreid.engine.evaluation_network import evaluation_dtype
from mdpr_fastreid.errors import UsageError, disk_is_full

_LOSSES = {
    "Baseline": ("CrossEntropyLoss", "TripletLoss", "CircleLoss", "Cosface"),
    "MGN": ("CrossEntropyLoss", "TripletLoss"),
}
"""What the toolbox's own architectures compute; others are asked when they are built."""


def run(main: Callable[[Namespace], object], parser: ArgumentParser, argv: list[str] | None = None) -> int:
    """Call ``main(args)`` in every process that the command line asks for.

    Args:
        main: the work of one process; has to be importable, as it may be called in a spawned one.
        parser: FastReID's ``default_argument_parser()``, or one with more arguments.
        argv: the words of the command line; those of this process by default.

    Returns:
        The exit code: 0, 1 for a failed run, 2 for a mistake of the user's (told in one line), 130 when interrupted.
    """
    args = parser.parse_args(argv)
    try:
        launch(main, args.num_gpus, args.num_machines, args.machine_rank, args.dist_url, args=(args,))
    except UsageError as error:
        return _told(2, _own_line(error))
    except OSError as error:
        if not disk_is_full(error):
            raise
        return _told(1, f"{error}: make room; --resume continues from the last checkpoint")
    except (FloatingPointError, mp.ProcessRaisedException, mp.ProcessExitedException) as error:
        return _told(1, str(error))
    except KeyboardInterrupt:
        return _told(130, "interrupted; --resume continues from the last checkpoint")
    return 0


def config_from(args: Namespace) -> CfgNode:
    """The config of ``--config-file`` and the ``KEY VALUE`` overrides, frozen.

    Raises:
        UsageError: a file is missing or no YAML, a key does not exist, or a value has the wrong type.
    """
    cfg = get_cfg()
    add_mdpr_config(cfg)
    if args.config_file:
        _merge_file(cfg, config_file(args.config_file))
    _merge_overrides(cfg, args.opts or [])
    evaluation_dtype(cfg)  # refused here, and not after the first epochs
    _check_device(cfg.MODEL.DEVICE)
    _check_losses(cfg.MODEL)
    cfg.freeze()
    return cfg


def _check_device(device: str) -> None:
    try:
        torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"MODEL.DEVICE {device!r} is no device: cpu, cuda, or cuda:0 and so on") from error


def _check_losses(model: CfgNode) -> None:
    """Refuse losses that an architecture of the toolbox's would leave out without a word."""
    known = _LOSSES.get(model.META_ARCHITECTURE)
    unknown = [name for name in model.LOSSES.NAME if known and name not in known]
    if unknown:
        raise UsageError(f"MODEL.LOSSES.NAME: {model.META_ARCHITECTURE} has no {unknown[0]}; it has {', '.join(known)}")


def _merge_file(cfg: CfgNode, path: str) -> None:
    try:
        cfg.merge_from_file(path)
    except FileNotFoundError as error:
        missing = str(error.filename or path)
        folder = os.path.dirname(missing) or "."
        names = os.listdir(folder) if os.path.isdir(folder) else []
        nearest = difflib.get_close_matches(os.path.basename(missing), names, n=1)
        hint = f"; did you mean {os.path.join(folder, nearest[0])}?" if nearest else ""
        raise UsageError(f"config file {missing} does not exist{hint}") from error
    except (IsADirectoryError, PermissionError) as error:
        raise UsageError(f"config file {error.filename}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"config file {path} cannot be read as YAML: {' '.join(str(error).split())}") from error
    except (TypeError, AttributeError) as error:
        raise UsageError(f"config file {path} is empty, or no mapping of keys to values: {error}") from error
    except KeyError as error:
        unknown = re.search(r"Non-existent config key: ([\w.]+)", str(error))
        raise _unknown_key(cfg, unknown[1] if unknown else str(error), f"config file {path}") from error
    except (ValueError, AssertionError) as error:
        raise UsageError(f"config file {path}: {error}") from error


def _merge_overrides(cfg: CfgNode, overrides: list[str]) -> None:
    known = set(_keys(cfg))
    for key in overrides[::2]:
        if key not in known:
            raise _unknown_key(cfg, key, "command line")
    if len(overrides) % 2:
        raise UsageError(f"overrides are pairs KEY VALUE; {overrides[-1]} has no value")
    for key, value in zip(overrides[::2], overrides[1::2], strict=True):
        try:
            cfg.merge_from_list([key, value])
        except (ValueError, AssertionError) as error:
            raise UsageError(f"{key} cannot be {value!r}: {error}") from error


def _unknown_key(cfg: CfgNode, key: str, where: str) -> UsageError:
    known = list(_keys(cfg))
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if not nearest:  # perhaps only its last part is right
        nearest = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]][:1]
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    if key.startswith("--"):
        hint = "; options come before the pairs KEY VALUE"
    return UsageError(f"{where}: there is no key {key}{hint}")


def _keys(cfg: CfgNode, prefix: str = "") -> Iterator[str]:
    for name, value in cfg.items():
        if isinstance(value, CfgNode):
            yield from _keys(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _own_line(error: UsageError) -> str:
    """The message alone: an error from a loader's worker comes with the worker's traceback as its text."""
    return str(error).rpartition("UsageError: ")[2].strip()


def _told(exit_code: int, message: str) -> int:
    print(f"{os.path.basename(sys.argv[0])}: {message}", file=sys.stderr)
    return exit_code
