"""A small comparison: SynthReID's tiny preset, ResNet-18 at 64x32, four iterations an epoch."""

import json

import numpy as np

from mdpr_fastreid.compare import records
from mdpr_fastreid.compare.plan import Request

OVERRIDES = ("MODEL.BACKBONE.PRETRAIN", "False", "DATALOADER.NUM_WORKERS", "0", "DATALOADER.NUM_INSTANCE", "4")
REQUEST = Request(
    methods=("mdpr", "bot"),
    data="SynthReIDTiny",
    backbone="r18",
    size=(64, 32),
    epochs=2,
    batch=64,
    seeds=(0, 1),
    overrides=(*OVERRIDES, "MODEL.DEVICE", "cpu"),
    command="mdpr compare --data SynthReIDTiny",
)


def made_up_result(plan, run, own_metrics=None, pairings=None, **numbers):
    """What a run could have reached, with its files, as a worker leaves them."""
    folder = plan.folder(run)
    folder.mkdir(parents=True, exist_ok=True)
    conditions = records.conditions(run.cfg, plan.data.digest)
    records.write_json(folder / records.CONDITIONS, conditions)
    accuracy = {"mAP": 40.0, "Rank-1": 30.0, "Rank-5": 60.0, "Rank-10": 80.0, "mINP": 20.0}
    result = {
        "config_hash": records.config_digest(conditions),
        "metrics": accuracy | numbers,
        "reranked": {name: value + 5 for name, value in (accuracy | numbers).items()},
        **({} if own_metrics is None else {"own_metrics": own_metrics}),
        **({} if pairings is None else {"pairings": pairings}),
        "cmc": list(np.linspace(30, 95, 50)),
        "cmc_reranked": list(np.linspace(35, 95, 50)),
        "feature_length": 1152,
        "training_images_per_second": 20.0,
        "inference_images_per_second": 90.0,
        "environment": {
            "processor": "a processor",
            "torch": "2",
            "gpu": None,
            "commit": "abc1234",
            "date": "2026-11-21T05:00",
        },
    }
    records.write_json(folder / records.RESULT, result)
    curve = [{"iteration": k, "total_loss": 9.0 - k, "lr": 0.1, "mAP": 10.0 + k} for k in range(4)]
    curve[-1] |= own_metrics or {}
    (folder / "metrics.json").write_text("".join(json.dumps(row) + "\n" for row in curve))
    return folder
