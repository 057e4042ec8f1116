"""FastReID's hooks, where a run needs more of them."""

import logging

from fastreid.engine import hooks
from fastreid.engine.hooks import HookBase
from fastreid.utils.events import CommonMetricPrinter, get_event_storage


class EvalHook(hooks.EvalHook):
    """Evaluates every ``TEST.EVAL_PERIOD`` epochs and, if that is at least 1, after a run that came to its end.

    After a failed run, evaluation would hide the error or, among several processes, wait for the one that is gone.
    """

    def after_train(self) -> None:
        """Evaluate, if the last epoch did not."""
        if self.trainer.finished and self._period > 0:
            super().after_train()


class LayerFreeze(hooks.LayerFreeze):
    """Keeps batch norm of frozen layers in evaluation mode after an evaluation, which puts the model into training."""

    def before_step(self) -> None:
        """Freeze, or thaw after ``SOLVER.FREEZE_ITERS``."""
        super().before_step()
        if self.is_frozen:
            for name, module in self.model.named_children():
                if name in self.freeze_layers:
                    module.eval()


class LRScheduler(hooks.LRScheduler):
    """Asks for the scale of the loss, which makes the host wait for the device, in warm-up only, where it is needed."""

    def before_step(self) -> None:
        """Note the scale, by which a skipped step is found."""
        if self.trainer.iter < self.trainer.warmup_iters:
            super().before_step()


class MetricPrinter(CommonMetricPrinter):
    """Prints the losses once an iteration: FastReID divides by the iterations since it printed last."""

    def write(self) -> None:
        """Print, if there is something new."""
        if self._last_write is None or self._last_write[0] != get_event_storage().iter:
            super().write()


class DamageReport(HookBase):
    """Reports at the end of a run which training images could not be read, if the data set knows."""

    def after_train(self) -> None:
        """Log what the data set reports."""
        report = getattr(getattr(self.trainer.data_loader, "dataset", None), "damage_report", lambda: None)()
        if report:
            logging.getLogger("fastreid.data.damaged").warning(report)
