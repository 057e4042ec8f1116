"""What a model brings along for its evaluation reaches the evaluator through every wrapper."""

import pytest
import torch
from support.ranked_features import config
from support.settings import small_config
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mdpr_fastreid.engine.evaluation_network import evaluation_network
from mdpr_fastreid.evaluation import evaluator_for
from mdpr_fastreid.inference import FoldedNetwork
from mdpr_fastreid.modeling.brought import BROUGHT, brought_by


class Bringing(nn.Module):
    """Brings everything along."""

    pairings = {"A": ("features", "features")}  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(12, 4)

    def distance(self, query, gallery):
        return torch.cdist(query, gallery)

    def metrics(self, outputs):
        return {"mean": outputs["features"].mean()}

    def compared(self, query, gallery):
        return ["all"] * len(query)

    def forward(self, batch):
        return {"features": self.layer(batch["images"].flatten(1))}


def _wrapped(model, tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        return DistributedDataParallel(model)
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("wrapper", ["folded", "autocast", "processes", "processes and autocast"])
def test_a_wrapper_hands_on_all_of_it(wrapper, tmp_path):
    model = Bringing()
    network = model
    if wrapper.startswith("processes"):
        network = _wrapped(model, tmp_path)
    if wrapper.endswith("autocast"):
        network = evaluation_network(small_config("TEST.AMP", "bfloat16"), network)
        assert network is not model
    if wrapper == "folded":
        network = FoldedNetwork(model, {})
    brought = brought_by(network)
    assert tuple(brought) == BROUGHT == ("distance", "pairings", "metrics", "compared")
    assert brought == {name: getattr(model, name) for name in BROUGHT}
    evaluator = evaluator_for(config(), 2, network)
    labels = {"targets": torch.tensor([0, 1, 0, 1]), "camids": torch.tensor([0, 0, 1, 1])}
    evaluator.process(labels, {"features": torch.eye(2).repeat(2, 1)})
    results = evaluator.evaluate()
    assert (results["A/mAP"], results["mean"]) == (100, 0.5)


def test_a_model_that_brings_nothing_gives_its_wrapper_nothing():
    model = nn.Linear(2, 2)
    model.distance = None
    assert brought_by(model) == {}
    assert not any(hasattr(FoldedNetwork(nn.Linear(2, 2), {}), name) for name in BROUGHT)
