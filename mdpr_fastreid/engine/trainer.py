"""FastReID's trainer, showing its progress and never overwriting an earlier run."""

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from fastreid.config import CfgNode
from fastreid.engine import DefaultTrainer
from fastreid.engine.hooks import HookBase
from fastreid.evaluation.evaluator import DatasetEvaluator
from fastreid.utils import comm
from torch import nn
from torch.utils.data import DataLoader

from mdpr_fastreid.data import build_test_loader, build_train_loader
from mdpr_fastreid.engine.evaluation_network import evaluation_network
from mdpr_fastreid.engine.fused_steps import set_fused
from mdpr_fastreid.engine.progress import LoaderWithProgress, TrainingProgress
from mdpr_fastreid.engine.results import check_room, write_untrained_results
from mdpr_fastreid.engine.winograd_training import train_with_winograd


class Trainer(DefaultTrainer):
    """``DefaultTrainer`` with a progress display on the main process; trains any config of FastReID's."""

    def build_hooks(self) -> list[HookBase]:
        """The stock hooks and the progress display."""
        hooks = super().build_hooks()
        if comm.is_main_process():
            hooks.append(TrainingProgress())
        return hooks

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """The stock model, which ``SOLVER.WINOGRAD`` lets compute faster on a CPU."""
        model = super().build_model(cfg)
        if cfg.SOLVER.WINOGRAD and cfg.MODEL.DEVICE == "cpu":
            train_with_winograd(model)
        return model

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> tuple[torch.optim.Optimizer, object]:
        """The stock optimizer and parameter wrapper; ``SOLVER.FUSED`` has PyTorch's own update in one pass."""
        optimizer, wrapper = super().build_optimizer(cfg, model)
        set_fused(optimizer, cfg.SOLVER.FUSED, clipping=cfg.SOLVER.CLIP_GRADIENTS.ENABLED)
        return optimizer, wrapper

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> DataLoader:
        """The plugin's loader: see :mod:`mdpr_fastreid.data`."""
        return build_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> tuple[DataLoader, int]:
        """The plugin's loader, and the number of queries."""
        return build_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(
        cls, cfg: CfgNode, dataset_name: str, output_dir: str | None = None
    ) -> tuple[LoaderWithProgress, DatasetEvaluator]:
        """The stock loader, with a progress display, and evaluator of one test set."""
        loader, evaluator = super().build_evaluator(cfg, dataset_name, output_dir)
        if comm.is_main_process():
            loader = LoaderWithProgress(loader, f"inference on {dataset_name}")
        return loader, evaluator

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module) -> Mapping:
        """Evaluate as stock, but with what ``TEST.FOLDED`` and ``TEST.AMP`` make of the model."""
        return super().test(cfg, evaluation_network(cfg, model))

    def train(self) -> Mapping | None:
        """Train as stock, after measuring the untrained network if ``TEST.EVAL_UNTRAINED`` asks for it.

        Raises:
            UsageError: a test set is not there, or cannot be evaluated, or there is no room for a checkpoint; stock
                finds out after the first epochs.
        """
        if comm.is_main_process():
            check_room(self.cfg.OUTPUT_DIR, self.model)
        if self.cfg.TEST.EVAL_PERIOD > 0:
            for name in self.cfg.DATASETS.TESTS:
                self.build_test_loader(self.cfg, name)
        if self.cfg.TEST.EVAL_UNTRAINED and self.start_epoch == 0:
            logging.getLogger("fastreid").info("Evaluating the untrained network, to compare with")
            untrained = self.test(self.cfg, self.model)
            if comm.is_main_process():
                write_untrained_results(self.cfg, untrained)
        return super().train()

    def resume_or_load(self, resume: bool = True) -> None:
        """Resume from the last checkpoint, or load ``MODEL.WEIGHTS`` and set an earlier run's checkpoints aside."""
        super().resume_or_load(resume)
        comm.synchronize()  # MODEL.WEIGHTS may be one of those that are about to be moved
        if not resume and comm.is_main_process() and self.cfg.OUTPUT_DIR:
            set_aside_checkpoints(Path(self.cfg.OUTPUT_DIR))


def set_aside_checkpoints(output_dir: Path) -> Path | None:
    """Move the checkpoints of an earlier run into a folder ``earlier-<n>`` of their own, and say so.

    Args:
        output_dir: ``OUTPUT_DIR``.

    Returns:
        The new folder, or None if there was no checkpoint.
    """
    checkpoints = sorted(output_dir.glob("*.pth"))
    if not checkpoints:
        return None
    number = 1
    while (output_dir / f"earlier-{number}").exists():
        number += 1
    folder = output_dir / f"earlier-{number}"
    folder.mkdir()
    for path in [*checkpoints, *output_dir.glob("last_checkpoint")]:
        path.rename(folder / path.name)
    logging.getLogger("fastreid").warning(
        f"{output_dir} held {len(checkpoints)} checkpoints of an earlier run, now in {folder}. "
        "This run starts anew; --resume would have continued that one"
    )
    return folder
