"""Evaluation runs the folded network, in the precision asked for, and ranks as the model does."""

import pytest
import torch
from fastreid.config import CfgNode
from fastreid.engine import DefaultTrainer
from fastreid.modeling.meta_arch import Baseline
from small_runs import logged_by_fastreid, trained
from small_runs import small_config as small_run
from support.folding import relative_difference
from support.settings import small_config, small_model
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mdpr_fastreid.engine import Trainer
from mdpr_fastreid.engine.evaluation_network import evaluation_network
from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.inference import FoldedNetwork


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """MDPR after a few steps on SynthReIDTiny, with the statistics these left in its batch norms, and its config."""
    torch.manual_seed(0)
    cfg = small_config(
        *("INPUT.SIZE_TRAIN", [64, 32], "INPUT.SIZE_TEST", [64, 32], "MODEL.HEADS.NUM_CLASSES", 0),
        *("DATASETS.NAMES", ("SynthReIDTiny",), "DATASETS.TESTS", ("SynthReIDTiny",)),
        *("DATALOADER.NUM_WORKERS", 0, "DATALOADER.NUM_INSTANCE", 4, "SOLVER.IMS_PER_BATCH", 64),
        *("SOLVER.MAX_EPOCH", 1, "SOLVER.WARMUP_ITERS", 0, "TEST.EVAL_PERIOD", 0, "SEED", 0),
        *("OUTPUT_DIR", str(tmp_path_factory.mktemp("run")), "SOLVER.AMP.ENABLED", False, "SOLVER.WINOGRAD", False),
    )
    return trained(cfg, trainer_class=_WithoutEvaluation).model, cfg


class _WithoutEvaluation(Trainer):
    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module) -> dict:
        return {"metric": 0.0}


@pytest.fixture(scope="module")
def images(run):
    loader, _ = DefaultTrainer.build_test_loader(run[1], "SynthReIDTiny")
    return torch.stack([loader.dataset[index]["images"] for index in range(0, 232, 4)])


def features(run, images: torch.Tensor, *overrides) -> torch.Tensor:
    model, cfg = run
    cfg = cfg.clone()
    cfg.merge_from_list(list(overrides))
    with torch.no_grad():
        return evaluation_network(cfg, model.eval())({"images": images})


def test_folded_features_rank_as_the_models(run, images):
    folded, plain = (features(run, images, "TEST.FOLDED", folded) for folded in (True, False))
    assert relative_difference(folded, plain) < 1e-4
    by_model, by_folded = (vectors @ vectors.T for vectors in map(torch.nn.functional.normalize, (plain, folded)))
    in_folded_order = by_model.gather(1, by_folded.argsort(dim=1, descending=True))
    # Only images that are equally similar, to the last digits of float32, may change places
    assert (in_folded_order.diff(dim=1) < 1e-5).all()


@pytest.mark.parametrize("folded", [True, False])
@pytest.mark.parametrize(("precision", "cosine"), [("float16", 0.9999), ("bfloat16", 0.995)])
def test_half_precision_keeps_directions_and_gives_float32(run, images, precision, cosine, folded):
    # After four steps the features differ little from their mean, which the neck takes away: bfloat16 is at its worst.
    images = images[:8]
    exact = features(run, images, "TEST.FOLDED", False)
    reduced = features(run, images, "TEST.FOLDED", folded, "TEST.AMP", precision)
    assert reduced.dtype == torch.float32 and not torch.equal(reduced, exact)
    assert torch.cosine_similarity(reduced, exact).min() > cosine


def test_the_trainer_evaluates_with_them_to_the_same_table_also_with_flip_testing(run):
    model, cfg = run
    cfg = cfg.clone()
    cfg.merge_from_list(["TEST.FLIP.ENABLED", True])
    model.train()
    folded, plain = Trainer.test(cfg, model), DefaultTrainer.test(cfg, model)
    assert model.training
    assert {name: folded[name] for name in plain if name != "dataset"} == pytest.approx(
        {name: plain[name] for name in plain if name != "dataset"}, abs=0.1
    )


def test_what_is_wrapped_for_many_processes_is_folded_inside(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        wrapped = DistributedDataParallel(small_model())
        network = evaluation_network(small_config(), wrapped)
    finally:
        torch.distributed.destroy_process_group()
    assert isinstance(network, FoldedNetwork)
    assert network(torch.rand(1, 3, 96, 48) * 255).shape == (1, 144)


def test_a_model_that_cannot_be_folded_is_evaluated_as_it_is_with_one_line():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    with logged_by_fastreid() as messages:
        assert evaluation_network(small_config(), model) is model
    assert [message for message in messages if "TEST.FOLDED" in message and "Sequential" in message] == messages


def test_a_precision_that_the_processor_lacks_is_said_to_be_slow(monkeypatch, tmp_path):
    model = DefaultTrainer.build_model(small_run(tmp_path))
    assert isinstance(model, Baseline)
    # PyTorch has it since 2.10
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    with logged_by_fastreid() as messages:
        assert isinstance(evaluation_network(small_config("TEST.AMP", "bfloat16"), model), FoldedNetwork)
    assert any("no bfloat16 instructions" in message for message in messages)


def test_a_model_with_several_outputs_keeps_its_distance_and_pairings_in_half_precision():
    class Pair(nn.Module):
        pairings = (("I2V", ("image", "clip")),)

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(12, 4)

        def distance(self, query, gallery):
            return torch.cdist(query, gallery)

        def forward(self, batch):
            features = self.layer(batch["images"].flatten(1))
            return {"image": features, "clip": -features, "frames": torch.arange(len(features))}

    model = Pair()
    network = evaluation_network(small_config("TEST.AMP", "bfloat16"), model)
    batch = {"images": torch.rand(3, 3, 2, 2)}
    reduced, exact = network(batch), model(batch)
    assert [value.dtype for value in reduced.values()] == [torch.float32, torch.float32, torch.int64]
    assert not torch.equal(reduced["image"], exact["image"])
    torch.testing.assert_close(reduced["image"], exact["image"], atol=0.05, rtol=0.05)
    assert network.pairings == model.pairings and network.distance == model.distance


def test_an_unknown_precision_is_refused_with_those_there_are():
    with pytest.raises(SettingsError, match="TEST.AMP must be empty .*'bfloat16' or 'float16', not 'int8'"):
        evaluation_network(small_config("TEST.AMP", "int8"), nn.Linear(1, 1))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_on_a_gpu_half_precision_keeps_directions(precision):
    model = small_model("MODEL.DEVICE", "cuda").eval()
    images = torch.rand(4, 3, 96, 48, device="cuda") * 255
    with torch.no_grad():
        reduced = evaluation_network(small_config("TEST.AMP", precision), model)(images)
        assert torch.cosine_similarity(reduced, model(images)).min() > 0.999
