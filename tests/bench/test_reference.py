"""The reference computes what our model computes, in another order."""

import copy

import pytest
import torch
from fastreid.solver import build_optimizer
from fastreid.utils.events import EventStorage

from mdpr_fastreid.bench.cost import counted
from mdpr_fastreid.bench.reference import PublishedOrder, PublishedTrainer
from mdpr_fastreid.engine.steps import TrainingStep
from tests.support.folding import relative_difference, with_random_batch_norms
from tests.support.settings import SINGLE_BRANCH, small_config, small_model


def _batch() -> dict[str, torch.Tensor]:
    images = torch.rand(8, 3, 96, 48, generator=torch.Generator().manual_seed(0)) * 255
    return {"images": images, "targets": torch.arange(8) // 2}


def test_its_features_are_our_models():
    model = with_random_batch_norms(small_model())
    images = _batch()["images"]
    with torch.no_grad():
        expected = model(images)
        features = PublishedOrder(copy.deepcopy(model))(images)
    assert relative_difference(features, expected) < 1e-5


@pytest.mark.parametrize("overrides", [[], ["MODEL.MDPR.ATTENTION.MAPS", 3, "MODEL.MDPR.ATTENTION.GUIDED", False]])
def test_its_losses_and_gradients_are_our_models(overrides):
    model = small_model(*overrides).double().train()
    reference, batch = PublishedOrder(copy.deepcopy(model)).train(), _batch()
    batch["images"] = batch["images"].double()
    expected, losses = model(batch), reference(batch)
    assert losses.keys() == expected.keys()
    for name, loss in expected.items():
        assert float(losses[name].detach()) == pytest.approx(float(loss.detach()), rel=1e-6, abs=1e-6), name
    sum(expected.values()).backward()
    sum(losses.values()).backward()
    for (name, ours), theirs in zip(model.named_parameters(), reference.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None), name
        if ours.grad is not None:
            torch.testing.assert_close(theirs.grad, ours.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_it_computes_in_evaluation_what_is_thrown_away():
    model = small_model().eval()
    images = torch.rand(1, 3, 96, 48)
    with torch.no_grad():
        ours = counted(lambda: model(images))
        reference = counted(lambda: PublishedOrder(model)(images))
    positions, maps, dim = 6 * 3, 2, 16
    makers = positions * (maps + 1) * 10 * (512 + 256 + maps + 1) + positions * (maps + 1) ** 2
    pooling = positions * maps * dim * (512 + 256)
    assert reference - ours == makers + pooling


def test_it_is_refused_without_all_parts():
    with pytest.raises(ValueError, match="all its parts"):
        PublishedOrder(small_model(*SINGLE_BRANCH["hard"]))


@pytest.mark.parametrize("trainer_class", [PublishedTrainer, TrainingStep])
def test_its_training_step_is_the_toolboxs(trainer_class):
    torch.manual_seed(0)
    cfg, model = small_config(), small_model().train()
    optimizer, wrapper = build_optimizer(cfg, model)
    trainer = trainer_class(model, [_batch()], optimizer, wrapper)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with EventStorage(0) as trainer.storage:
        trainer.run_step()
        assert trainer.storage.latest()["total_loss"][0] > 0
    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
