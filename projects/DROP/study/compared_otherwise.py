#!/usr/bin/env python3
"""Trained networks of DROP, their images compared by other embeddings and visibilities than in training's evaluation.

python projects/DROP/study/compared_otherwise.py logs/drop/study/runs/DROP/seed*
"""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

# The project's folder, and the checkout if the plugin is not installed
sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[3])]

import drop  # noqa: E402, F401
import torch  # noqa: E402
from fastreid.modeling import build_model  # noqa: E402
from tabulate import tabulate  # noqa: E402

from mdpr_fastreid.config import read_config  # noqa: E402
from mdpr_fastreid.data import build_test_loader  # noqa: E402
from mdpr_fastreid.errors import UsageError  # noqa: E402
from mdpr_fastreid.evaluation import Collected, collect_outputs, evaluator_for  # noqa: E402
from mdpr_fastreid.weights import load_for_evaluation  # noqa: E402

EMBEDDINGS = ("whole", "foreground", "parts")
CHOICES = (*((name,) for name in EMBEDDINGS), EMBEDDINGS[:2], EMBEDDINGS[1:], EMBEDDINGS)
"""Embeddings that are compared, a row each."""
VISIBILITIES = ("binary", "continuous", "ignored", "true")
"""Of parts; where it is ignored, all are compared; the true one is that of the masks."""


def main(words: list[str] | None = None) -> int:
    """Returns the exit code: 0, or 2 for a mistake of the user's (one line)."""
    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder, with config.yaml and model_final.pth")
    args = parser.parse_args(words)
    try:
        columns = [compared(Path(run)) for run in args.runs]
    except UsageError as error:
        print(f"{Path(__file__).name}: {error}", file=sys.stderr)
        return 2
    rows = [[*row, *(column[row] for column in columns)] for row in columns[0]]
    headers = ["compared", "visibility of parts", *args.runs]
    print("mAP / Rank-1\n", tabulate(rows, headers, tablefmt="github"), sep="\n")
    return 0


def compared(run: Path) -> dict[tuple[str, str], str]:
    """mAP and Rank-1 of a run, by what is compared and by the visibility of the parts.

    Args:
        run: its folder.

    Raises:
        UsageError: there is no run of DROP in it.
    """
    if not (run / "config.yaml").is_file():
        raise UsageError(f"{run} has no config.yaml: give the folder of a run, runs/METHOD/seedN of a comparison")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    overrides = ["MODEL.BACKBONE.PRETRAIN", False, "MODEL.DEVICE", device]
    cfg = read_config(run / "config.yaml", [*overrides, "MODEL.DROP.TEST_EMBEDDINGS", EMBEDDINGS])
    if cfg.MODEL.META_ARCHITECTURE != "DROP":
        raise UsageError(f"{run} is a run of {cfg.MODEL.META_ARCHITECTURE}, which compares no parts")
    model = build_model(cfg)
    load_for_evaluation(model, str(run / "model_final.pth"))
    loader, queries = build_test_loader(cfg, cfg.DATASETS.TESTS[0])
    evaluator = evaluator_for(cfg, queries, model)
    found = {}
    for visibility in VISIBILITIES:
        if visibility in ("binary", "continuous"):
            model.heads.binary = visibility == "binary"
            evaluator.reset()
            collected = collect_outputs(cfg, model, loader, evaluator)
        elif visibility == "ignored":
            collected.outputs["visibility"].fill_(1)
        else:
            collected.outputs["visibility"][:, 2:] = true_visibility(collected.outputs["parsing"])
        for names in CHOICES:
            if "parts" in names or visibility == VISIBILITIES[0]:
                metrics = evaluator.measure(chosen(collected, names), reranked=False).metrics
                key = " + ".join(names), visibility if "parts" in names else ""
                found[key] = f"{metrics['mAP']:.1f} / {metrics['Rank-1']:.1f}"
    return found


def true_visibility(counts: torch.Tensor) -> torch.Tensor:
    """Which parts have a cell in the mask; all parts of an image without one.

    Args:
        counts: ``[N, 3, K + 1]`` of :func:`drop.evaluation.parsing_counts`.

    Returns:
        ``[N, K]``, 1 or 0.
    """
    cells = counts[:, 2]
    return ((cells[:, 1:] > 0) | (cells.sum(dim=1, keepdim=True) == 0)).float()


def chosen(collected: Collected, names: Sequence[str]) -> Collected:
    """What was collected, of some of the embeddings.

    Args:
        collected: with ``embeddings`` ``[N, 2 + K, E]`` of the whole picture, the foreground and the parts, and their
            ``visibility`` ``[N, 2 + K]``.
        names: of ``EMBEDDINGS``.
    """
    single = [EMBEDDINGS.index(name) for name in names if name != "parts"]
    parts = list(range(2, collected.outputs["visibility"].shape[1])) if "parts" in names else []
    outputs = {name: collected.outputs[name][:, single + parts] for name in ("embeddings", "visibility")}
    return collected._replace(outputs=outputs)


if __name__ == "__main__":
    sys.exit(main())
