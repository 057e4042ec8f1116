"""The conditions that all runs of a comparison share: everything but the model and its losses."""

import hashlib
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from fastreid.config import CfgNode

from mdpr_fastreid.config import PARTS, check_config
from mdpr_fastreid.config import read_config as read_any_config
from mdpr_fastreid.config.own_code import hinting_at_import
from mdpr_fastreid.data.custom.dataset import queries_without_match
from mdpr_fastreid.engine import Trainer
from mdpr_fastreid.errors import UsageError

DEFAULT_CONFIG = "Base-MDPR.yml"
"""Where the shared conditions come from if nobody says otherwise: input, sampler and schedule published with MDPR."""

_SET_BY_OPTIONS = {
    "SEED": "--seeds",
    "OUTPUT_DIR": "--output",
    "SOLVER.MAX_EPOCH": "--epochs",
    "SOLVER.IMS_PER_BATCH": "--batch",
    "MODEL.WEIGHTS": "MODEL.BACKBONE.PRETRAIN_PATH, which every method can start from",
}

WARMUP_SHARE = 6
"""Warm-up takes at most this part of a run: 2,000 of the 12,120 iterations of 60 epochs on Market-1501."""


@dataclass(frozen=True)
class Data:
    """What is trained and evaluated on."""

    name: str
    train_images: int
    identities: int
    queries: int
    unmatched: int
    """Queries without a gallery image of their identity under another camera, which no metric counts."""
    gallery: int
    digest: str
    """Of every image's split, relative path, identity, camera and size in bytes; see :func:`data_digest`."""


def read_config(path: str, overrides: Sequence[str] = (), parts: Collection[str] = PARTS) -> CfgNode:
    """The config of ``path`` with ``KEY VALUE`` overrides, as :func:`mdpr_fastreid.config.read_config` gives it.

    Raises:
        UsageError: what is wrong with it, in the parts that are asked for; for a name that nobody has registered, how
            to import the code that does.
    """
    cfg = read_any_config(path, overrides, parts=())
    check_settings(cfg, parts)
    return cfg


def check_settings(cfg: CfgNode, parts: Collection[str]) -> None:
    """As :func:`mdpr_fastreid.config.check_config`, with what to do about a name that nobody has registered."""
    with hinting_at_import():
        check_config(cfg, parts)


def shared_config(
    config: str = DEFAULT_CONFIG,
    *,
    data: str | None = None,
    size: tuple[int, int] | None = None,
    epochs: int | None = None,
    batch: int | None = None,
    overrides: Sequence[str] = (),
    found: Data | None = None,
) -> tuple[CfgNode, Data]:
    """The shared conditions, and the data they name.

    A run of another length than the config's keeps the shape of its schedule: delays and steps are moved in proportion,
    warm-up and freezing take at most a sixth of the iterations. What ``overrides`` set stays as it was set.

    Args:
        config: the config whose settings are shared; its model is not.
        data: name of the data set to train and evaluate on; that of the config by default.
        size: (height, width) of the input.
        epochs: length of each run.
        batch: images a batch.
        overrides: ``KEY, VALUE, KEY, VALUE, ...``.
        found: the data, if it was found before; its images are not counted and hashed once more.

    Raises:
        UsageError: a setting that cannot be, several test sets, or data that is missing.
    """
    overrides = list(overrides)
    _check_overrides(overrides, data, size)
    cfg = read_config(config, overrides, parts=())
    if data is not None:
        cfg.DATASETS.NAMES, cfg.DATASETS.TESTS = (data,), (data,)
    check_settings(cfg, ("evaluation", "training"))  # the model is each method's own
    published_epochs = cfg.SOLVER.MAX_EPOCH
    if len(cfg.DATASETS.TESTS) != 1:
        raise UsageError(f"a comparison evaluates on one data set, DATASETS.TESTS names {len(cfg.DATASETS.TESTS)}")
    if size is not None:
        cfg.INPUT.SIZE_TRAIN, cfg.INPUT.SIZE_TEST = list(size), list(size)
    cfg.SOLVER.MAX_EPOCH = epochs or published_epochs
    cfg.SOLVER.IMS_PER_BATCH = batch or cfg.SOLVER.IMS_PER_BATCH
    cfg.TEST.EVAL_UNTRAINED = False
    # What is reported is the last epoch: the best one would be chosen on the test set.
    if epochs is not None:
        _set_unless(cfg, overrides, "TEST.EVAL_PERIOD", max(1, cfg.SOLVER.MAX_EPOCH // 5))
    _set_unless(cfg, overrides, "SOLVER.CHECKPOINT_PERIOD", max(1, cfg.SOLVER.MAX_EPOCH // 20))
    with _refusals_in_a_line():
        found = _data(cfg, found)
        _scale_schedule(cfg, overrides, published_epochs, found.train_images)
        _check_schedule(cfg, found)
    return cfg, found


@contextmanager
def _refusals_in_a_line() -> Iterator[None]:
    """The toolbox reports an impossible setting by whatever error comes first."""
    try:
        yield
    except UsageError:
        raise
    except (AssertionError, KeyError, RuntimeError, TypeError, ValueError) as error:
        first_line = (str(error).strip().splitlines() or [""])[0]
        raise UsageError(f"these settings cannot be shared: {type(error).__name__}: {first_line}") from error


def set_by_options(data: bool = True, size: bool = True) -> dict[str, str]:
    """The keys that options of the command set, with what to use in their place.

    Args:
        data: whether ``--data`` is among the options.
        size: whether ``--size`` is.
    """
    owned = dict(_SET_BY_OPTIONS)
    if data:
        owned |= dict.fromkeys(("DATASETS.NAMES", "DATASETS.TESTS"), "--data alone")
    if size:
        owned |= dict.fromkeys(("INPUT.SIZE_TRAIN", "INPUT.SIZE_TEST"), "--size alone")
    return owned


def _check_overrides(overrides: Sequence[str], data: str | None, size: tuple[int, int] | None) -> None:
    """Refuse what would be set twice, once of them in vain."""
    owned = set_by_options(data is not None, size is not None)
    for key in overrides[::2]:
        if key in owned:
            raise UsageError(f"{key} is set for every run here: use {owned[key]}")


def iterations(cfg: CfgNode, data: Data) -> int:
    """How many batches a run trains on."""
    return cfg.SOLVER.MAX_EPOCH * (data.train_images // cfg.SOLVER.IMS_PER_BATCH)


def flat(cfg: CfgNode, prefix: str = "") -> dict[str, object]:
    """A config as one dict with dotted keys; tuples are lists, as in a file."""
    return dict(_flat_items(cfg, prefix))


def _flat_items(cfg: CfgNode, prefix: str) -> Iterator[tuple[str, object]]:
    for name, value in cfg.items():
        if isinstance(value, CfgNode):
            yield from _flat_items(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", list(value) if isinstance(value, tuple) else value


def data_digest(items: Sequence[tuple[str, str, object, object]]) -> str:
    """16 hex digits of SHA-256 over one line an image: split, relative path, identity, camera, size in bytes.

    The paths are relative to the deepest folder that holds all images, so a data set that was moved stays the same.

    Args:
        items: (split, path, identity, camera) of every image.
    """
    root = os.path.commonpath([os.path.abspath(path) for _, path, _, _ in items])
    lines = sorted(
        "\t".join(map(str, (split, os.path.relpath(path, root), identity, camera, os.path.getsize(path))))
        for split, path, identity, camera in items
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _data(cfg: CfgNode, found: Data | None = None) -> Data:
    cfg = cfg.clone()
    cfg.DATALOADER.NUM_WORKERS = 0
    training = Trainer.build_train_loader(cfg).dataset  # which refuses a sampler or a batch that cannot be
    if found is not None:
        return found
    loader, queries = Trainer.build_test_loader(cfg, cfg.DATASETS.TESTS[0])
    test = loader.dataset.img_items
    items = [("train", *item[:3]) for item in training.img_items]
    items += [("query" if k < queries else "gallery", *item[:3]) for k, item in enumerate(test)]
    missing = next((path for _, path, _, _ in items if not Path(path).is_file()), None)
    if missing:
        raise UsageError(f"{missing} is missing, but the data set {cfg.DATASETS.TESTS[0]} lists it")
    return Data(
        name=cfg.DATASETS.TESTS[0],
        train_images=len(training),
        identities=training.num_classes,
        queries=queries,
        unmatched=len(queries_without_match(test[:queries], test[queries:])),
        gallery=len(test) - queries,
        digest=data_digest(items),
    )


def _scale_schedule(cfg: CfgNode, overrides: Sequence[str], published_epochs: int, train_images: int) -> None:
    solver = cfg.SOLVER
    share = solver.MAX_EPOCH / published_epochs
    total = solver.MAX_EPOCH * (train_images // solver.IMS_PER_BATCH)
    # FastReID counts warm-up in whole epochs, and of one epoch nothing would be left for the schedule.
    most = round(total / WARMUP_SHARE) if solver.MAX_EPOCH > 1 else 0
    _set_unless(cfg, overrides, "SOLVER.WARMUP_ITERS", min(solver.WARMUP_ITERS, most))
    _set_unless(cfg, overrides, "SOLVER.FREEZE_ITERS", min(solver.FREEZE_ITERS, most))
    _set_unless(cfg, overrides, "SOLVER.DELAY_EPOCHS", int(solver.DELAY_EPOCHS * share))
    _set_unless(cfg, overrides, "SOLVER.STEPS", [max(1, round(step * share)) for step in solver.STEPS])


def _check_schedule(cfg: CfgNode, data: Data) -> None:
    """Have the toolbox refuse a schedule that cannot be, before the first run does."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=cfg.SOLVER.BASE_LR)
    Trainer.build_lr_scheduler(cfg, optimizer, data.train_images // cfg.SOLVER.IMS_PER_BATCH)


def _set_unless(cfg: CfgNode, overrides: Sequence[str], key: str, value: object) -> None:
    if key not in overrides[::2]:
        section, name = key.split(".")
        cfg[section][name] = value
