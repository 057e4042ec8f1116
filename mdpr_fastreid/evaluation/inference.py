"""The inference loop: a model over a test loader, into an evaluator."""

from collections import OrderedDict
from collections.abc import Iterable

import torch
from fastreid.config import CfgNode
from fastreid.evaluation import DatasetEvaluator, inference_on_dataset
from torch import nn

from mdpr_fastreid.evaluation.evaluator import Collected, Evaluator
from mdpr_fastreid.evaluation.outputs import Outputs, mean_of


def evaluator_for(cfg: CfgNode, num_query: int, model: nn.Module, output_dir: str | None = None) -> Evaluator:
    """The evaluator of a model, with what the model brings along for its evaluation.

    Args:
        cfg: the run's config.
        num_query: how many of the test images, the first ones, are queries.
        model: see :meth:`Evaluator.adopt`.
        output_dir: handed to the evaluator.

    Raises:
        SettingsError: as :class:`Evaluator`.
    """
    evaluator = Evaluator(cfg, num_query, output_dir)
    evaluator.adopt(model)
    return evaluator


def evaluate_model(cfg: CfgNode, model: nn.Module, loader: Iterable, evaluator: DatasetEvaluator) -> OrderedDict:
    """Run a model over a test loader and evaluate what it gives, by FastReID's own loop.

    Args:
        cfg: the run's config; ``TEST.FLIP`` has each image seen mirrored, too, and the outputs averaged.
        model: in any mode; it is put into evaluation mode meanwhile.
        loader: FastReID's test loader, the queries first.
        evaluator: any of FastReID's kind.

    Returns:
        What ``evaluator.evaluate()`` returned.
    """
    return inference_on_dataset(_as_tested(cfg, model), loader, evaluator)


def collect_outputs(cfg: CfgNode, model: nn.Module, loader: Iterable, evaluator: Evaluator) -> Collected | None:
    """As :func:`evaluate_model`, but nothing is ranked yet.

    Returns:
        What the evaluator collected, for its ``measure``; None but on the main process.
    """
    inference_on_dataset(_as_tested(cfg, model), loader, _CollectingOnly(evaluator))
    return evaluator.collect()


def _as_tested(cfg: CfgNode, model: nn.Module) -> nn.Module:
    return FlipAverage(model) if cfg.TEST.FLIP.ENABLED else model


class FlipAverage(nn.Module):
    """The mean of a model's outputs of images and of the mirrored images.

    Besides ``images`` ``[B, 3, H, W]``, every tensor of the batch that ends in the same ``[H, W]`` is mirrored, such as
    masks or the frames of a clip. The batch itself stays as it is.

    Args:
        model: gives a tensor, or a dict of tensors, in floating point.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.training = model.training  # FastReID puts what it has evaluated back into the mode it found

    def forward(self, batch: dict) -> Outputs:
        return mean_of(self.model(batch), self.model(_mirrored(batch)))


def _mirrored(batch: dict) -> dict:
    size = batch["images"].shape[-2:]
    pictures = [name for name, value in batch.items() if isinstance(value, torch.Tensor) and value.shape[-2:] == size]
    return batch | {name: batch[name].flip(-1) for name in pictures if batch[name].ndim > 2}


class _CollectingOnly(DatasetEvaluator):
    """Hands everything on to an evaluator, but does not evaluate."""

    def __init__(self, evaluator: DatasetEvaluator) -> None:
        self.reset, self.process = evaluator.reset, evaluator.process

    def evaluate(self) -> dict:
        return {}
