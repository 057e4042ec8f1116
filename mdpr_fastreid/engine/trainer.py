"""The trainer of ``train_net.py``: FastReID's interface, with steps, hooks and checkpoints of our own."""

import logging
import os
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.engine import DefaultTrainer, hooks
from fastreid.engine.hooks import HookBase
from fastreid.engine.train_loop import TrainerBase
from fastreid.evaluation import print_csv_format
from fastreid.evaluation.evaluator import DatasetEvaluator
from fastreid.utils import comm
from fastreid.utils.events import EventWriter
from fastreid.utils.logger import setup_logger
from fastreid.utils.precision_bn import get_bn_modules
from torch import nn
from torch.utils.data import DataLoader

from mdpr_fastreid.config import add_mdpr_config, check_config
from mdpr_fastreid.data import build_test_loader, build_train_loader
from mdpr_fastreid.data.cameras import camera_count, check_seen_in_training
from mdpr_fastreid.engine.agreement import check_agreement, check_shared_folder
from mdpr_fastreid.engine.bfloat16_training import train_in_bfloat16
from mdpr_fastreid.engine.checkpoints import Checkpointer, PeriodicCheckpointer, set_aside_checkpoints, teacher_of
from mdpr_fastreid.engine.evaluation_network import evaluation_network
from mdpr_fastreid.engine.freed_memory import keep_freed_memory
from mdpr_fastreid.engine.fused_steps import set_fused
from mdpr_fastreid.engine.hooks import (
    BuffersOfFirst,
    DamageReport,
    EvalHook,
    LayerFreeze,
    LRScheduler,
    MetricPrinter,
    MetricsFile,
    PeriodicWriter,
    SaveBeforeEvaluation,
    TensorboardFile,
)
from mdpr_fastreid.engine.launch import distributed
from mdpr_fastreid.engine.lost_machines import is_lost_connection
from mdpr_fastreid.engine.optimizers import build_optimizer
from mdpr_fastreid.engine.preparation import prepare_training
from mdpr_fastreid.engine.progress import LoaderWithProgress, TrainingProgress
from mdpr_fastreid.engine.results import check_room, make_output_dir, write_untrained_results
from mdpr_fastreid.engine.schedules import build_schedules
from mdpr_fastreid.engine.seeding import seed_generators, seed_setup
from mdpr_fastreid.engine.steps import TrainingStep, autocast_dtype
from mdpr_fastreid.engine.storage import DeferredStorage
from mdpr_fastreid.engine.torchrun import restarted_by_torchrun, restarts_by_torchrun
from mdpr_fastreid.engine.winograd_training import train_with_winograd
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.evaluation import Evaluator, evaluate_model
from mdpr_fastreid.modeling import build_model

_ITERATIONS_BETWEEN_WRITES = 200


class Trainer(DefaultTrainer):
    """Trains any config of FastReID's, on a CPU or GPUs, in one process or many.

    A ``DefaultTrainer`` to hooks and to subclasses: they override the same ``build_*`` methods and find the same
    attributes.

    Args:
        cfg: the run's config.

    Raises:
        UsageError: the settings, the data or the weights do not let the run begin.
    """

    def __init__(self, cfg: CfgNode) -> None:
        TrainerBase.__init__(self)
        if not logging.getLogger("fastreid").isEnabledFor(logging.INFO):
            setup_logger()
        cfg = _with_plugin_keys(cfg)
        check_config(cfg)
        if cfg.OUTPUT_DIR and comm.is_main_process():
            make_output_dir(cfg.OUTPUT_DIR)
        seed_setup(cfg)
        if cfg.MODEL.DEVICE == "cpu":
            keep_freed_memory()

        loader = self.build_train_loader(cfg)
        _check_identities(cfg, loader.dataset.num_classes)
        cfg = self.auto_scale_hyperparams(cfg, loader.dataset.num_classes)
        check_agreement(cfg, getattr(loader.dataset, "img_items", ()))
        _warn_of_unread_weights(cfg)
        model = self.build_model(cfg)
        optimizer, param_wrapper = self.build_optimizer(cfg, model)
        saved = teacher_of(model)
        if comm.get_world_size() > 1:
            model = distributed(model, broadcast_buffers=False)
        precision = cfg.SOLVER.AMP.DTYPE if cfg.SOLVER.AMP.ENABLED else "float32"
        whole = {"accumulate": cfg.SOLVER.ACCUMULATE, "gather": cfg.SOLVER.GATHER}
        self._trainer = TrainingStep(model, loader, optimizer, param_wrapper, precision=precision, **whole)
        if self.grad_scaler is not None:
            saved["grad_scaler"] = self.grad_scaler

        self.cfg = cfg
        self.iters_per_epoch = len(loader.dataset) // cfg.SOLVER.IMS_PER_BATCH
        self.scheduler = self.build_lr_scheduler(cfg, optimizer, self.iters_per_epoch)
        self.start_epoch, self.max_epoch = 0, cfg.SOLVER.MAX_EPOCH
        self.max_iter = self.max_epoch * self.iters_per_epoch
        self.warmup_iters, self.delay_epochs = cfg.SOLVER.WARMUP_ITERS, cfg.SOLVER.DELAY_EPOCHS
        self.finished = False
        self.checkpointer = Checkpointer(
            model,
            cfg.OUTPUT_DIR,
            save_to_disk=comm.is_main_process(),
            sha256=cfg.MODEL.WEIGHTS_SHA256,
            optimizer=optimizer,
            **self.scheduler,
            **saved,
        )
        self.register_hooks(self.build_hooks())

    def resume_or_load(self, resume: bool = True) -> None:
        """Resume from the last checkpoint, or load ``MODEL.WEIGHTS`` and set an earlier run's checkpoints aside.

        A training that starts anew begins with the model's ``prepare_training``, if it has one.

        Args:
            resume: whether to resume, if ``last_checkpoint`` names one. What ``torchrun`` has restarted resumes.

        Raises:
            UsageError: the file cannot be read, is another one than the pinned one, or does not fit; or the model
                cannot be prepared.
        """
        check_shared_folder(self.cfg.OUTPUT_DIR, needed=resume or restarts_by_torchrun())
        resume = resume or restarted_by_torchrun()
        resumed = resume and self.checkpointer.has_checkpoint()
        loaded = self.checkpointer.resume_or_load(self.cfg.MODEL.WEIGHTS, resume=resume)
        if resumed:
            self.start_epoch = loaded.get("epoch", -1) + 1
            for hook in self._hooks:
                if isinstance(hook, PeriodicCheckpointer):
                    hook.resume(loaded)
        else:
            prepare_training(self.cfg, self.model, self.data_loader.dataset)
        comm.synchronize()  # MODEL.WEIGHTS may be one of those that are about to be moved
        if not resumed and comm.is_main_process() and self.cfg.OUTPUT_DIR:
            set_aside_checkpoints(Path(self.cfg.OUTPUT_DIR), asked_to_resume=resume)

    def train(self) -> Mapping | None:
        """Train to ``SOLVER.MAX_EPOCH``, or evaluate a run that is complete already.

        Returns:
            The last results on the main process, as :meth:`test` returns them; None elsewhere, and if nothing was
            evaluated (``TEST.EVAL_PERIOD`` below 1).

        Raises:
            UsageError: a test set is not there, or cannot be evaluated, or there is no room for a checkpoint.
            FloatingPointError: the loss became infinite or NaN.
        """
        logger = logging.getLogger("fastreid")
        self._check_what_comes_later()
        if self.cfg.TEST.EVAL_UNTRAINED and self.start_epoch == 0:
            self._evaluate_untrained()
        if self.start_epoch < self.max_epoch:
            self._train_epochs()
        else:
            logger.info(f"Training is complete: {self.start_epoch} of {self.max_epoch} epochs (SOLVER.MAX_EPOCH)")
            self._last_eval_results = self.test(self.cfg, self.model)
        if not comm.is_main_process():
            return None
        if not hasattr(self, "_last_eval_results"):
            logger.warning(f"TEST.EVAL_PERIOD is {self.cfg.TEST.EVAL_PERIOD}: nothing was evaluated")
        return getattr(self, "_last_eval_results", None)

    def _train_epochs(self) -> None:
        logger = logging.getLogger("fastreid")
        logger.info(f"Starting training from epoch {self.start_epoch}")
        self.iter = self.start_iter = self.start_epoch * self.iters_per_epoch
        self.finished = False
        with DeferredStorage(self.start_iter) as self.storage:
            self.before_train()
            try:
                for epoch in range(self.start_epoch, self.max_epoch):
                    self._train_epoch(epoch)
                self.finished = True
            except UsageError:
                raise  # printed once, where the run ends
            except Exception as error:
                if not is_lost_connection(error):  # which the launch names
                    logger.exception("Exception during training:")
                raise
            finally:
                self._trainer.stop_loading()
                self.after_train()

    def _train_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        if self.cfg.SEED >= 0:
            seed_generators(self.cfg.SEED, epoch, comm.get_rank())
            self._trainer.start_epoch(self.cfg.SEED, epoch)
        self.before_epoch()
        for _ in range(self.iters_per_epoch):
            self.before_step()
            self.run_step()
            self.after_step()
            self.iter += 1
        self.after_epoch()

    def _check_what_comes_later(self) -> None:
        """Find out before the first epoch, and not after it, that it cannot be saved or evaluated."""
        if comm.is_main_process() and self.cfg.OUTPUT_DIR:
            check_room(self.cfg.OUTPUT_DIR, self.model)
        if self.cfg.TEST.EVAL_PERIOD > 0:
            for name in self.cfg.DATASETS.TESTS:
                loader, _ = self.build_test_loader(self.cfg, name)
                if camera_count(self.cfg):
                    train_set = self.data_loader.dataset
                    check_seen_in_training(self.cfg.DATASETS.NAMES, train_set, name, loader.dataset)

    def _evaluate_untrained(self) -> None:
        logging.getLogger("fastreid").info("Evaluating the untrained network, to compare with")
        untrained = self.test(self.cfg, self.model)
        if comm.is_main_process():
            write_untrained_results(self.cfg, untrained)

    def _evaluate(self) -> Mapping:
        self._last_eval_results = self.test(self.cfg, self.model)
        return self._last_eval_results

    def build_hooks(self) -> list[HookBase]:
        """What happens besides the steps, in this order.

        All processes get the first one's buffers; precise BN; weights are saved, evaluated, and saved with the metric.
        """
        cfg, found = self.cfg, [hooks.IterationTimer(), LRScheduler(self.optimizer, self.scheduler), BuffersOfFirst()]
        if cfg.TEST.PRECISE_BN.ENABLED and get_bn_modules(self.model):
            found.append(hooks.PreciseBN(self.model, self._precise_bn_loader(), cfg.TEST.PRECISE_BN.NUM_ITER))
        if cfg.MODEL.FREEZE_LAYERS and cfg.SOLVER.FREEZE_ITERS > 0:
            found.append(LayerFreeze(self.model, cfg.MODEL.FREEZE_LAYERS, cfg.SOLVER.FREEZE_ITERS))
        saver = PeriodicCheckpointer(self.checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD)
        if comm.is_main_process() and cfg.TEST.EVAL_PERIOD > 0:
            found.append(SaveBeforeEvaluation(saver, cfg.TEST.EVAL_PERIOD))
        found.append(EvalHook(cfg.TEST.EVAL_PERIOD, self._evaluate))
        if comm.is_main_process():
            found.append(saver)
            found.append(PeriodicWriter(self.build_writers(), _ITERATIONS_BETWEEN_WRITES))
            found.append(TrainingProgress())
        return [*found, DamageReport()]

    def _precise_bn_loader(self) -> Any:
        cfg = self.cfg.clone()
        cfg.defrost()
        cfg.DATALOADER.NUM_WORKERS = 0
        cfg.DATASETS.NAMES = (cfg.TEST.PRECISE_BN.DATASET,)
        try:
            return self.build_train_loader(cfg)
        except UsageError as error:
            raise UsageError(
                f"TEST.PRECISE_BN.DATASET {cfg.TEST.PRECISE_BN.DATASET}: {error}. Name a set that is there, as in "
                "DATASETS.NAMES, or set TEST.PRECISE_BN.ENABLED False"
            ) from error

    def build_writers(self) -> list[EventWriter]:
        """What writes losses and results: to the log, to ``metrics.json`` and for TensorBoard."""
        output = self.cfg.OUTPUT_DIR
        return [
            MetricPrinter(self.max_iter),
            MetricsFile(os.path.join(output, "metrics.json")),
            TensorboardFile(output),
        ]

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """The model of ``MODEL``, whose convolutions are computed faster on a CPU."""
        model = build_model(cfg)
        logging.getLogger("fastreid").info(f"Model:\n{model}")
        if cfg.MODEL.DEVICE == "cpu":
            amp = cfg.SOLVER.AMP
            in_bfloat16 = amp.ENABLED and autocast_dtype("cpu", amp.DTYPE) == torch.bfloat16
            if in_bfloat16 and cfg.SOLVER.PRODUCT_GRADIENTS:
                train_in_bfloat16(model)
            elif not in_bfloat16 and cfg.SOLVER.WINOGRAD:
                train_with_winograd(model)
        return model

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> tuple[torch.optim.Optimizer, Any]:
        """The optimizer of ``SOLVER`` and its flat parameters; ``SOLVER.FUSED`` lets it update them in one pass."""
        optimizer, wrapper = build_optimizer(cfg, model)
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
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: torch.optim.Optimizer, iters_per_epoch: int) -> dict[str, Any]:
        """The schedules of ``SOLVER``."""
        return build_schedules(cfg, optimizer, iters_per_epoch)

    @classmethod
    def build_evaluator(
        cls, cfg: CfgNode, dataset_name: str, output_dir: str | None = None
    ) -> tuple[LoaderWithProgress, DatasetEvaluator]:
        """The loader, with a progress display on the main process, and the evaluator of one test set."""
        loader, num_query = cls.build_test_loader(cfg, dataset_name)
        evaluator = Evaluator(cfg, num_query, output_dir)
        if comm.is_main_process():
            loader = LoaderWithProgress(loader, f"inference on {dataset_name}")
        return loader, evaluator

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module) -> Mapping:
        """Evaluate what ``TEST.FOLDED`` and ``TEST.AMP`` make of a model on every set of ``DATASETS.TESTS``.

        Args:
            cfg: the run's config.
            model: trained; it stays as it is.

        Returns:
            The metrics of the one test set, or those of each by its name; empty on other processes than the main one.
        """
        network = evaluation_network(cfg, model)
        results = OrderedDict()
        for name in cfg.DATASETS.TESTS:
            loader, evaluator = cls.build_evaluator(cfg, name)
            if isinstance(evaluator, Evaluator):
                evaluator.adopt(network)
            results[name] = evaluate_model(cfg, network, loader, evaluator)
            if comm.is_main_process():
                print_csv_format(OrderedDict(dataset=name, **results[name]))
        return results[name] if len(results) == 1 else results


def _check_identities(cfg: CfgNode, identities: int) -> None:
    given = cfg.MODEL.HEADS.NUM_CLASSES
    if 0 < given < identities:
        raise UsageError(
            f"MODEL.HEADS.NUM_CLASSES {given} is less than the {identities} identities of the training set "
            f"(DATASETS.NAMES {tuple(cfg.DATASETS.NAMES)}): leave it at 0, which takes as many"
        )


def _warn_of_unread_weights(cfg: CfgNode) -> None:
    options = cfg.MODEL.BACKBONE
    if options.PRETRAIN_PATH and not options.PRETRAIN:
        logging.getLogger("fastreid").warning(
            f"MODEL.BACKBONE.PRETRAIN_PATH {options.PRETRAIN_PATH} is not read, as MODEL.BACKBONE.PRETRAIN is False"
        )


def _with_plugin_keys(cfg: CfgNode) -> CfgNode:
    """A copy of a config, possibly made before the plugin was imported, that has all of its keys."""
    cfg, frozen = cfg.clone(), cfg.is_frozen()
    cfg.defrost()
    add_mdpr_config(cfg)
    if frozen:
        cfg.freeze()
    return cfg
