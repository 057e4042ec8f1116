"""FastReID's hooks, where a run needs more of them."""

import json
import logging
import re
from collections.abc import Iterator, Sequence

from fastreid.engine import hooks
from fastreid.engine.hooks import HookBase
from fastreid.utils import comm
from fastreid.utils.events import CommonMetricPrinter, JSONWriter, TensorboardXWriter, get_event_storage
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from mdpr_fastreid.engine.checkpoints import PeriodicCheckpointer
from mdpr_fastreid.engine.preparation import take_from_first_process


class EvalHook(hooks.EvalHook):
    """Evaluates every ``TEST.EVAL_PERIOD`` epochs and, if that is at least 1, after a run that came to its end.

    After a failed run, evaluation would hide the error or, among several processes, wait for the one that is gone.
    """

    def after_train(self) -> None:
        """Evaluate, if the last epoch did not."""
        if self.trainer.finished and self._period > 0:
            super().after_train()


class BuffersOfFirst(HookBase):
    """Gives all processes the buffers of the first one after an epoch: the one model that is evaluated and saved.

    Batch norm gathers its statistics in each process from that process's images, and only the first one's are saved.
    """

    def after_epoch(self) -> None:
        """Before precise BN, evaluation and saving."""
        if comm.get_world_size() > 1:
            take_from_first_process(self.trainer.model.buffers())


class SaveBeforeEvaluation(HookBase):
    """Saves weights before an evaluation: it may fail, or be killed for its memory.

    Args:
        saver: what saves them once more, with the metric, after it.
        period: of the evaluation, in epochs.
    """

    def __init__(self, saver: PeriodicCheckpointer, period: int) -> None:
        self._saver, self._period = saver, period

    def after_epoch(self) -> None:
        """If an evaluation follows."""
        epoch = self.trainer.epoch
        if (epoch + 1) % self._period == 0 or epoch + 1 >= self.trainer.max_epoch:
            self._saver.save_weights(epoch)


class LayerFreeze(hooks.LayerFreeze):
    """Puts frozen layers into evaluation mode, as well after an evaluation, which puts the model into training.

    FastReID does so for children of the model that are named exactly as in ``MODEL.FREEZE_LAYERS``, once. Here it is
    done for the layers inside of a child, too, whose parameters are frozen.

    Args:
        model: what is trained.
        freeze_layers: ``MODEL.FREEZE_LAYERS``.
        freeze_iters: ``SOLVER.FREEZE_ITERS``.
    """

    def __init__(self, model: nn.Module, freeze_layers: Sequence[str], freeze_iters: int) -> None:
        super().__init__(model, freeze_layers, freeze_iters)
        children = dict(self.model.named_children())
        patterns = [re.compile(pattern) for pattern in freeze_layers if pattern not in children]
        self._frozen = [child for name, child in children.items() if name in freeze_layers]
        self._frozen += _layers_of(self.model, patterns)

    def before_step(self) -> None:
        """Freeze, or thaw after ``SOLVER.FREEZE_ITERS``."""
        super().before_step()
        if self.is_frozen:
            for module in self._frozen:
                module.eval()

    def open_all_layer(self) -> None:
        """Thaw."""
        super().open_all_layer()
        for module in self._frozen:
            module.train()


def _layers_of(model: nn.Module, patterns: Sequence[re.Pattern]) -> Iterator[nn.Module]:
    """The layers all of whose parameters have names that begin as a pattern says; of those without any, their own.

    Of modules with children, only norms are layers (timm's have an activation): a head as a whole, in evaluation mode,
    would give no losses.
    """
    for path, module in model.named_modules():
        if any(module.children()) and not isinstance(module, _NormBase):
            continue
        names = [f"{path}.{name}" for name, _ in module.named_parameters(recurse=False)] or [f"{path}."]
        if all(any(pattern.match(name) for pattern in patterns) for name in names):
            yield module


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


class MetricsFile(JSONWriter):
    """Writes ``metrics.json``, with the results of an evaluation after an iteration that was written already.

    FastReID's writer leaves these out: those of the last epoch, and of each that ends where the losses are written.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._new = NewScalars()

    def write(self) -> None:
        """Add a line for each iteration that has new values."""
        for iteration, scalars in sorted(self._new(self._window_size).items()):
            self._file_handle.write(json.dumps({**scalars, "iteration": iteration}, sort_keys=True) + "\n")
        self._file_handle.flush()


class TensorboardFile(TensorboardXWriter):
    """Writes for TensorBoard what :class:`MetricsFile` writes."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self._new = NewScalars()

    def write(self) -> None:
        """Add what is new."""
        for iteration, scalars in self._new(self._window_size).items():
            for name, value in scalars.items():
                self._writer.add_scalar(name, value, iteration)
            self._last_write = max(self._last_write, iteration)
        super().write()  # images and histograms


class NewScalars:
    """What the event storage has got since the last call."""

    def __init__(self) -> None:
        self._written: dict[str, int] = {}

    def __call__(self, window_size: int) -> dict[int, dict[str, float]]:
        """Values by name, by the iteration they belong to; medians of ``window_size`` where that is asked for."""
        found: dict[int, dict[str, float]] = {}
        for name, (value, iteration) in get_event_storage().latest_with_smoothing_hint(window_size).items():
            if iteration > self._written.get(name, -1):
                self._written[name] = iteration
                found.setdefault(iteration, {})[name] = value
        return found


class PeriodicWriter(hooks.PeriodicWriter):
    """Writes once more after an evaluation that comes behind the last epoch."""

    def after_train(self) -> None:
        """Write what is new, and close the files."""
        for writer in self._writers:
            writer.write()
        super().after_train()


class DamageReport(HookBase):
    """Reports at the end of a run which training images could not be read, if the data set knows."""

    def after_train(self) -> None:
        """Log what the data set reports."""
        report = getattr(getattr(self.trainer.data_loader, "dataset", None), "damage_report", lambda: None)()
        if report:
            logging.getLogger("fastreid.data.damaged").warning(report)
