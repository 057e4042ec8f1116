"""A trained model for the verbs that draw pictures: as it was trained, and what it gives of its test set."""

import argparse
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from fastreid.config import CfgNode
from torch import nn

from mdpr_fastreid.config import read_config
from mdpr_fastreid.config.own_code import hinting_at_import, import_modules
from mdpr_fastreid.data import build_test_loader
from mdpr_fastreid.embedding.loading import files_of_run
from mdpr_fastreid.engine.evaluation_network import evaluation_network
from mdpr_fastreid.engine.progress import LoaderWithProgress
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.evaluation import Collected, Evaluator, collect_outputs, evaluator_for
from mdpr_fastreid.inference import load


class Evaluated(NamedTuple):
    """What a model gave of a test set."""

    data_set: str
    evaluator: Evaluator
    collected: Collected
    paths: list[str]
    """Of the test images, queries first; of a tracklet its first frame."""


def load_trained(args: argparse.Namespace) -> tuple[CfgNode, nn.Module]:
    """The config of ``--config-file``, or of the run in that folder, and its model, not folded, with its weights.

    Args:
        args: with ``config_file``, ``weights``, ``imports`` and ``overrides``.

    Raises:
        UsageError: there are no weights, or they or the config cannot be read.
    """
    import_modules(args.imports)
    config, found = args.config_file, None
    if os.path.isdir(config):
        config, found = files_of_run(Path(config))
    with hinting_at_import():
        cfg = read_config(config, args.overrides, parts=("model", "evaluation"))
    weights = str(args.weights or found or cfg.MODEL.WEIGHTS)
    if not weights:
        raise UsageError("there are no weights to look at: give --weights path/to/model_best.pth")
    cfg.MODEL.WEIGHTS = weights
    return cfg, load(cfg, weights, folded=False)


def evaluated(cfg: CfgNode, model: nn.Module) -> Evaluated:
    """Run the model over the first of ``DATASETS.TESTS``, as ``train_net.py --eval-only`` does.

    Raises:
        UsageError: the test set is not there or cannot be evaluated with these settings.
    """
    name = cfg.DATASETS.TESTS[0]
    loader, queries = build_test_loader(cfg, name)
    evaluator = evaluator_for(cfg, queries, model)
    network = evaluation_network(cfg, model)
    collected = collect_outputs(cfg, network, LoaderWithProgress(loader, f"inference on {name}"), evaluator)
    return Evaluated(name, evaluator, collected, [str(item[0]) for item in loader.dataset.img_items])


def vectors_of(evaluated: Evaluated) -> np.ndarray:
    """``[N, D]`` embeddings of the test images, queries first; with pairings those of the first one.

    Raises:
        UsageError: the model gives several outputs that are not one vector, or differ for queries and gallery.
    """
    query, gallery = evaluated.evaluator.paired(evaluated.collected)
    if isinstance(query, dict) or query.ndim != 2 or query.shape[1:] != gallery.shape[1:]:
        raise UsageError(
            "the model gives no single vector of an image, so its embeddings have no place in two dimensions"
        )
    return torch.cat([query, gallery]).numpy()
