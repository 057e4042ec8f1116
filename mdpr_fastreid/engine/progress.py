"""Progress of training and evaluation."""

from collections.abc import Iterator
from typing import Any

from fastreid.engine.hooks import HookBase
from torch.utils.data import DataLoader

from mdpr_fastreid.progress import Progress, with_progress


class TrainingProgress(HookBase):
    """Shows the iterations of a training run, with the loss."""

    def before_train(self) -> None:
        """Start at the iteration that the run starts at."""
        self._progress = Progress(self.trainer.max_iter, "training", done=self.trainer.start_iter)

    def after_step(self) -> None:
        """Count the iteration."""
        self._progress.step(self._loss)

    def _loss(self) -> str:
        loss = self.trainer.storage.latest().get("total_loss")
        return f"loss {loss[0]:.3f}" if loss else ""

    def after_train(self) -> None:
        """Take the bar off the terminal."""
        self._progress.close()


class LoaderWithProgress:
    """A loader that shows how many of its batches were taken; everything else is the loader's own."""

    def __init__(self, loader: DataLoader, description: str) -> None:
        self._loader, self._description = loader, description

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator:
        return with_progress(self._loader, Progress(len(self._loader), self._description))
