"""One run of a comparison in a process of its own: ``python -m mdpr_fastreid.compare.worker FOLDER [MODULE ...]``.

The modules are imported first, as they register what the config names. The folder holds ``settings.yml``, the whole
config. A killed run goes on from its last checkpoint, as ``train_net.py --resume`` does; a run without training
evaluates ``MODEL.WEIGHTS``.
"""

import contextlib
import json
import sys
import time
import traceback
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

import mdpr_fastreid  # noqa: F401  (patches FastReID, so it comes before any import of it)

import numpy as np  # isort: skip
import torch
from fastreid.config import CfgNode
from fastreid.engine import default_setup
from fastreid.engine.hooks import HookBase, PeriodicWriter

from mdpr_fastreid.compare import evaluate
from mdpr_fastreid.compare.curves import training_seconds
from mdpr_fastreid.compare.processes import end_with_parent
from mdpr_fastreid.compare.provenance import environment
from mdpr_fastreid.compare.records import (
    CHECKPOINT,
    CONDITIONS,
    FAILURE,
    RANKING,
    RESULT,
    SETTINGS,
    config_digest,
    read_json,
    write_arrays,
    write_json,
    write_progress,
)
from mdpr_fastreid.compare.shared import read_config
from mdpr_fastreid.config.own_code import import_modules
from mdpr_fastreid.engine import Trainer, load_for_evaluation
from mdpr_fastreid.engine.evaluation_network import evaluation_network
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.modeling import image_sizes
from mdpr_fastreid.weights import sha256_file

_POINTS_OF_A_CURVE = 100
_CPU_BATCH = 32


class _RunHook(HookBase):
    """Writes how far training is, and keeps no checkpoint but the one that a resumed run starts from."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def before_train(self) -> None:
        self._start = time.monotonic()
        self._last_written = 0.0

    def after_step(self) -> None:
        now = time.monotonic()
        done, total = self.trainer.iter + 1, self.trainer.max_iter
        if now - self._last_written >= 1 or done == total:
            self._last_written = now
            each = (now - self._start) / (done - self.trainer.start_iter)
            seconds_left = each * (total - done)
            write_progress(self._folder, "training", iteration=done, total=total, seconds_left=seconds_left)

    def after_epoch(self) -> None:
        _drop_checkpoints(self._folder)
        self._add_first_pairing()

    def _add_first_pairing(self) -> None:
        """Of an evaluation with several pairings, log the first one's mAP as the mAP, as in the tables."""
        storage = self.trainer.storage
        of_pairings = (
            value
            for name, (value, iteration) in storage.latest().items()
            if iteration == storage.iter and name.endswith("/mAP")
        )
        first = next(of_pairings, None)
        if first is not None:
            with (self._folder / "metrics.json").open("a") as file:
                print(json.dumps({"iteration": storage.iter, "mAP": float(first)}), file=file)


class _Trainer(Trainer):
    """Writes its progress for the comparison, and logs often enough for a curve."""

    def build_hooks(self) -> list[HookBase]:
        period = max(1, self.max_iter // _POINTS_OF_A_CURVE)
        hooks = [
            PeriodicWriter(hook._writers, period) if isinstance(hook, PeriodicWriter) else hook
            for hook in super().build_hooks()
        ]
        return [*hooks, _RunHook(Path(self.cfg.OUTPUT_DIR))]


def main(folder: Path) -> int:
    """Do a run.

    Returns:
        0 when it is done and has its result file, 1 when it failed and the failure file says why.
    """
    (folder / FAILURE).unlink(missing_ok=True)
    try:
        cfg = read_config(str(folder / SETTINGS))
        cfg.OUTPUT_DIR = str(folder)
        default_setup(cfg, Namespace(eval_only=bool(cfg.MODEL.WEIGHTS)))
        model = _evaluated(cfg) if cfg.MODEL.WEIGHTS else _trained(cfg)
        result = measure(cfg, model, folder)
    except Exception as error:  # whatever it is belongs into the table, beside the runs that went well
        traceback.print_exc()
        first_line = (str(error).strip().splitlines() or [""])[0]
        reason = first_line if isinstance(error, UsageError) else f"{type(error).__name__}: {first_line}"
        write_json(folder / FAILURE, {"error": reason, "log": str(folder / "log.txt")})
        return 1
    write_json(folder / RESULT, result)
    _drop_checkpoints(folder)
    return 0


def measure(cfg: CfgNode, model: torch.nn.Module, folder: Path) -> dict:
    """Everything that the comparison reports of a run; rank lists and attention go into ``ranking.npz``.

    Args:
        cfg: of the run.
        model: trained, on its device.
        folder: of the run.
    """
    write_progress(folder, "evaluating")
    loader, queries = Trainer.build_test_loader(cfg, cfg.DATASETS.TESTS[0])
    network = evaluation_network(cfg, model)
    measured = evaluate.measure_accuracy(cfg, model, network, loader, queries)
    lists, collected = measured.lists, measured.collected
    paths = [item[0] for item in loader.dataset.img_items]
    used = np.unique(np.concatenate([lists.query, lists.gallery[lists.gallery >= 0]]))
    attention = evaluate.query_attention(model, loader, queries)
    write_arrays(
        folder / RANKING,
        **lists._asdict(),
        used=used,
        paths=np.array([paths[index] for index in used]),
        identities=collected.identities[used],
        cameras=collected.cameras[used],
        **({} if attention is None else {"attention": attention}),
        **({} if measured.captions is None else {"caption": measured.captions}),
        **_precisions(measured.pairings),
    )
    device = next(model.parameters()).device
    batch = cfg.TEST.IMS_PER_BATCH if device.type == "cuda" else min(cfg.TEST.IMS_PER_BATCH, _CPU_BATCH)
    images = torch.rand(batch, 3, *image_sizes(cfg).test.size, device=device) * 255
    seconds = training_seconds(folder)
    return {
        "config_hash": config_digest(read_json(folder / CONDITIONS) or {}),
        "metrics": measured.plain.metrics,
        "reranked": measured.reranked.metrics,
        "own_metrics": measured.own_metrics,
        "pairings": {name: one.metrics for name, one in measured.pairings.items()},
        "cmc": measured.plain.cmc,
        "cmc_reranked": measured.reranked.cmc,
        "feature_length": evaluate.feature_length(collected, model),
        "training_images_per_second": cfg.SOLVER.IMS_PER_BATCH / seconds if seconds else None,
        "inference_images_per_second": evaluate.images_per_second(network, images),
        "inference_batch": batch,
        "inference_network": type(network).__name__,
        "environment": environment(),
    }


def _precisions(pairings: Mapping[str, evaluate.OfPairing]) -> dict[str, np.ndarray]:
    """Names ``[K]`` of the pairings, and the average precision of every query in each, ``[K, V]``."""
    if not pairings:
        return {}
    return {
        "pairings": np.array(list(pairings)),
        "pairing_precision": np.stack([one.average_precision for one in pairings.values()]),
    }


def _trained(cfg: CfgNode) -> torch.nn.Module:
    write_progress(Path(cfg.OUTPUT_DIR), "starting")
    trainer = _Trainer(cfg)
    try:
        trainer.resume_or_load(resume=True)
    except UsageError as error:
        if not (Path(cfg.OUTPUT_DIR) / CHECKPOINT).is_file():
            raise  # it is about the weights that training starts from
        raise UsageError(f"{error}; delete {cfg.OUTPUT_DIR}, and the same command trains this run anew") from error
    # A complete run that was killed while it was measured would be evaluated by train() once more than needed.
    if trainer.start_epoch < trainer.max_epoch:
        trainer.train()
    return trainer.model


def _evaluated(cfg: CfgNode) -> torch.nn.Module:
    write_progress(Path(cfg.OUTPUT_DIR), "starting")
    cfg = cfg.clone()
    cfg.MODEL.BACKBONE.PRETRAIN = False
    model = Trainer.build_model(cfg)
    load_for_evaluation(model, cfg.MODEL.WEIGHTS)
    return model


def _drop_checkpoints(folder: Path) -> None:
    """Of the checkpoints only the newest is needed, and nothing of the best: results are those of the last epoch."""
    pointer = folder / CHECKPOINT
    newest = pointer.read_text().strip() if pointer.is_file() else ""
    for path in folder.glob("model_*.pth"):
        if newest and path.name not in (newest, "model_final.pth"):
            path.unlink()
            sha256_file(path).unlink(missing_ok=True)


if __name__ == "__main__":
    end_with_parent()
    with contextlib.suppress(KeyboardInterrupt):
        import_modules(sys.argv[2:])
        sys.exit(main(Path(sys.argv[1])))
    sys.exit(130)
