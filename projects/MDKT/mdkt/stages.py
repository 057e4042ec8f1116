"""The two stages of a training, one after the other."""

import copy
import logging
from argparse import Namespace
from pathlib import Path

from fastreid.config import CfgNode
from fastreid.utils import comm

from mdkt.config import TRANSFER
from mdkt.meta_arch import check_transfer
from mdkt.settings import teacher_config_file
from mdkt.stage1_record import first_difference, value_of
from mdpr_fastreid.config import config_from
from mdpr_fastreid.engine import restarted_by_torchrun, set_aside_checkpoints, train_or_evaluate
from mdpr_fastreid.errors import UsageError

TEACHER_FOLDER = "teacher"
"""Of stage 1, in ``OUTPUT_DIR``."""

_FINAL = "model_final.pth"
_THE_SAME_IN_BOTH = (
    "DATASETS.NAMES",
    "DATASETS.CUSTOM",
    "DATASETS.CUSTOM_CAMERA_PATTERN",
    "DATASETS.COMBINEALL",
    "INPUT.CLIP.FROM_IMAGES",
    "SEED",
)
"""What a stage 1 that is complete has to have been trained with."""
_OF_BOTH_STAGES = (
    *_THE_SAME_IN_BOTH,
    "DATASETS.TESTS",
    "DATALOADER.SKIP_DAMAGED",
    "DATALOADER.NUM_WORKERS",
    "MODEL.DEVICE",
)
"""What stage 1 takes from the config of stage 2, and so from the command line."""


def train_both_stages(args: Namespace) -> None:
    """As :func:`mdpr_fastreid.engine.train_or_evaluate`, but that MDKT without a teacher trains one first.

    Stage 1 is trained by ``MODEL.MDKT.TEACHER_CONFIG`` into the folder ``teacher`` of ``OUTPUT_DIR``, on the data, the
    device and the seed of stage 2, which starts from its last checkpoint. ``--resume`` goes on in the stage that was
    stopped, and so does what ``torchrun --max-restarts`` has started again.

    Args:
        args: of FastReID's command line: ``config_file``, ``opts``, ``resume``, ``eval_only``.

    Raises:
        UsageError: the settings, the data or the weights do not let it begin.
    """
    cfg = config_from(args)
    mdkt = cfg.MODEL.MDKT
    args = copy.copy(args)
    args.resume = args.resume or restarted_by_torchrun()
    if args.eval_only or cfg.MODEL.META_ARCHITECTURE != TRANSFER or mdkt.TEACHER_WEIGHTS or _is_resumed(cfg, args):
        train_or_evaluate(args)
        return
    if not mdkt.TEACHER_CONFIG:
        raise UsageError(
            "MDKT starts from a trained teacher: name its checkpoint in MODEL.MDKT.TEACHER_WEIGHTS, or the config to "
            "train it by in MODEL.MDKT.TEACHER_CONFIG"
        )
    folder = Path(cfg.OUTPUT_DIR) / TEACHER_FOLDER
    check_transfer(cfg)  # now, and not when stage 1 is done
    if not args.resume and comm.is_main_process():  # or --resume, in stage 1, would find stage 2 of an earlier run
        set_aside_checkpoints(Path(cfg.OUTPUT_DIR))
    if args.resume and _is_complete(folder):
        _check_same(cfg, folder)
    else:
        train_or_evaluate(_of_stage_1(args, cfg, folder))
        comm.synchronize()
        _close_log()
    train_or_evaluate(_with(args, {"MODEL.MDKT.TEACHER_WEIGHTS": str(folder / _FINAL)}))


def _of_stage_1(args: Namespace, cfg: CfgNode, folder: Path) -> Namespace:
    taken = {key: value_of(cfg, key) for key in _OF_BOTH_STAGES}
    own = copy.copy(args)
    own.config_file, own.opts = teacher_config_file(cfg), []
    return _with(own, {**taken, "OUTPUT_DIR": str(folder)})


def _with(args: Namespace, settings: dict[str, object]) -> Namespace:
    args = copy.copy(args)
    args.opts = [*(args.opts or ()), *(word for pair in settings.items() for word in pair)]
    return args


def _is_resumed(cfg: CfgNode, args: Namespace) -> bool:
    """Whether stage 2 goes on from a checkpoint of its own."""
    return args.resume and (Path(cfg.OUTPUT_DIR) / "last_checkpoint").is_file()


def _is_complete(folder: Path) -> bool:
    """Whether stage 1 was trained to its end."""
    last = folder / "last_checkpoint"
    return last.is_file() and last.read_text().strip() == _FINAL and (folder / _FINAL).is_file()


def _check_same(cfg: CfgNode, folder: Path) -> None:
    """Refuse a stage 1 that was trained on other data, or with another seed.

    Raises:
        UsageError: it was; the message names the key.
    """
    found = first_difference(folder, cfg, _THE_SAME_IN_BOTH)
    if found:
        raise UsageError(
            f"--resume: stage 1 in {folder} was trained with {found.key} {found.then}, and it is {found.now} now: give "
            f"{found.key} as it was, or another OUTPUT_DIR; without --resume, stage 1 is trained again"
        )


def _close_log() -> None:
    """End the log of a stage: the next one begins its own, and would write into both."""
    logger = logging.getLogger("fastreid")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.flush()
