"""Scalars of a training step stay on the device until something reads them."""

import pytest
import torch
from fastreid.utils.events import EventStorage
from small_runs import small_config
from support.host_reads import HostReads
from support.settings import small_model

from mdpr_fastreid.engine import Trainer
from mdpr_fastreid.engine.steps import TrainingStep
from mdpr_fastreid.engine.storage import DeferredStorage


def test_the_host_reads_nothing_of_a_step_of_mdpr():
    model = small_model("MODEL.MDPR.CHECKPOINT_STAGES", (3,)).train()
    batch = {"images": torch.rand(8, 3, 96, 48) * 255, "targets": torch.arange(8) // 2}
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    trainer = TrainingStep(model, [batch] * 2, optimizer, None)
    with DeferredStorage(0) as trainer.storage:
        with HostReads() as reads:
            for _ in range(2):
                trainer.run_step()
                trainer.storage.step()
        assert reads.names == []
        history = trainer.storage.history("total_loss").values()
    assert [iteration for _, iteration in history] == [0, 1]
    assert all(value > 0 for value, _ in history)


def test_histories_and_medians_are_those_of_numbers_put_at_once():
    values = [3.0, 1.0, 2.0, 8.0, 0.1]
    with DeferredStorage(0) as kept, EventStorage(0) as read:
        for value in values:
            kept.put_scalar("loss", torch.tensor([value], dtype=torch.float64))
            read.put_scalar("loss", value)
            kept.step()
            read.step()
        assert kept.latest_with_smoothing_hint(3) == read.latest_with_smoothing_hint(3) == {"loss": (2.0, 4)}
        assert kept.history("loss").values() == read.history("loss").values()
        assert kept.history("loss").global_avg() == read.history("loss").global_avg()


def test_a_tensor_is_logged_as_it_was_when_it_was_put():
    with DeferredStorage(0) as storage:
        value = torch.tensor(1.0, dtype=torch.float64)
        storage.put_scalar("loss", value)
        value.fill_(5)
        assert storage.latest()["loss"] == (1.0, 0)


def test_weights_of_a_loss_that_is_not_finite_are_never_saved(tmp_path):
    trainer = Trainer(small_config(tmp_path, "SOLVER.MAX_EPOCH", 1, "TEST.EVAL_PERIOD", 0))
    with DeferredStorage(7) as storage:
        storage.put_scalar("total_loss", torch.tensor(float("nan")))
        for _ in range(2):  # not at a second attempt either
            with pytest.raises(FloatingPointError, match="infinite or NaN at iteration=7"):
                trainer.checkpointer.save("model_final")
    assert list(tmp_path.glob("*.pth")) == []
