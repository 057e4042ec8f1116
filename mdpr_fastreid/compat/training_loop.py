"""Moments of a training run that stock does not survive, or not unchanged, always.

* A trainer built without ``default_setup`` writes its config into an ``OUTPUT_DIR`` that nobody made.
* Evaluation follows a training that failed in its last epoch: in a distributed run it waits for the process that
  is gone, in any run it hides the error.
* An evaluation thaws the batch norm of frozen layers (``SOLVER.FREEZE_ITERS``), which a resumed run has not done.
* ``TEST.EVAL_PERIOD`` 0 divides by zero, a negative one fails an assertion after the whole training.
* In a run of fewer than three iterations, or one resumed that late, the printer of losses divides by zero.
* Resuming a run that was complete ends in an AttributeError.

Can go when FastReID's trainer covers them.
"""

import functools
import logging
import os
import sys
from collections import OrderedDict
from collections.abc import Callable

from fastreid.config import CfgNode
from fastreid.engine.defaults import DefaultTrainer
from fastreid.engine.hooks import EvalHook, LayerFreeze
from fastreid.engine.train_loop import TrainerBase
from fastreid.utils import comm
from fastreid.utils.events import CommonMetricPrinter, get_event_storage

from mdpr_fastreid.data.loaders import PrefetchIterator
from mdpr_fastreid.errors import UsageError


def apply() -> None:
    """Mend ``DefaultTrainer``'s beginning and end, and the hooks for evaluation, frozen layers and losses."""
    DefaultTrainer.__init__ = _with_output_dir(DefaultTrainer.__init__)
    EvalHook.after_train = _evaluating_only_success(EvalHook.after_train)
    LayerFreeze.before_step = _keeping_layers_frozen(LayerFreeze.before_step)
    CommonMetricPrinter.write = _once_an_iteration(CommonMetricPrinter.write)
    DefaultTrainer.train = _train
    logging.getLogger("fastreid.engine.train_loop").addFilter(_is_no_usage_error)


def _with_output_dir(stock_init: Callable) -> Callable:
    @functools.wraps(stock_init)
    def __init__(self: DefaultTrainer, cfg: CfgNode) -> None:
        if cfg.OUTPUT_DIR and comm.is_main_process():
            os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
        stock_init(self, cfg)

    return __init__


def _evaluating_only_success(stock_after_train: Callable) -> Callable:
    @functools.wraps(stock_after_train)
    def after_train(self: EvalHook) -> None:
        # TrainerBase calls this in a `finally`, where an error on its way out can be seen
        if sys.exc_info()[0] is None and self._period > 0:
            stock_after_train(self)

    return after_train


def _keeping_layers_frozen(stock_before_step: Callable) -> Callable:
    @functools.wraps(stock_before_step)
    def before_step(self: LayerFreeze) -> None:
        stock_before_step(self)
        if self.is_frozen:
            for name, module in self.model.named_children():
                if name in self.freeze_layers:
                    module.eval()

    return before_step


def _once_an_iteration(stock_write: Callable) -> Callable:
    @functools.wraps(stock_write)
    def write(self: CommonMetricPrinter) -> None:
        # Before there is a time per iteration, stock divides by the iterations since it last wrote
        if self._last_write is None or self._last_write[0] != get_event_storage().iter:
            stock_write(self)

    return write


def _train(self: DefaultTrainer) -> OrderedDict | None:
    """Train to ``SOLVER.MAX_EPOCH``, or evaluate a run that is there already.

    Returns:
        The last results on the main process, None elsewhere and with ``TEST.EVAL_PERIOD`` below 1.
    """
    logger = logging.getLogger("fastreid")
    if self.start_epoch >= self.max_epoch:
        logger.info(f"Training is complete: {self.start_epoch} of {self.max_epoch} epochs (SOLVER.MAX_EPOCH)")
        self._last_eval_results = self.test(self.cfg, self.model)
    else:
        try:
            TrainerBase.train(self, self.start_epoch, self.max_epoch, self.iters_per_epoch)
        finally:
            _stop_prefetching(self)
    if not comm.is_main_process():
        return None
    if not hasattr(self, "_last_eval_results"):
        logger.warning(f"TEST.EVAL_PERIOD is {self.cfg.TEST.EVAL_PERIOD}: nothing was evaluated")
    return getattr(self, "_last_eval_results", None)


def _stop_prefetching(trainer: DefaultTrainer) -> None:
    """End the endless prefetching of training images; the next ``train`` would start it again."""
    inner = trainer._trainer
    if isinstance(inner._data_loader_iter, PrefetchIterator):
        inner._data_loader_iter.close()
        inner._data_loader_iter = iter(inner.data_loader)


def _is_no_usage_error(record: logging.LogRecord) -> bool:
    """A mistake of the user's is printed once, where the run ends, without the traceback stock adds."""
    return not (record.exc_info and isinstance(record.exc_info[1], UsageError))
