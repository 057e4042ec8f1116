"""A training step: its precision, its metrics, its batches."""

import pytest
import torch
from fastreid.engine import DefaultTrainer
from fastreid.engine.train_loop import SimpleTrainer
from fastreid.utils.events import EventStorage
from small_runs import logged_by_fastreid, small_config
from torch import nn

from mdpr_fastreid.engine import Trainer, steps
from mdpr_fastreid.engine.steps import TrainingStep
from mdpr_fastreid.errors import UsageError


def run_recording_types(tmp_path, *options):
    trainer = Trainer(small_config(tmp_path, "SOLVER.AMP.ENABLED", True, "SOLVER.MAX_EPOCH", 1, *options))
    types = set()
    convolution = trainer.model.backbone[0]
    convolution.register_forward_hook(lambda module, inputs, output: types.add(output.dtype))
    before = convolution.weight.detach().clone()
    trainer.train()
    assert not torch.equal(convolution.weight, before)
    return trainer, types


@pytest.mark.parametrize(("configured", "has_bfloat16"), [("float16", True), ("float16", False), ("bfloat16", False)])
def test_a_cpu_trains_in_float32_unless_it_has_the_bfloat16_that_was_asked_for(
    tmp_path, monkeypatch, configured, has_bfloat16
):
    monkeypatch.setattr(steps, "computes", lambda *_: has_bfloat16)
    steps._log_cpu_dtype.cache_clear()
    with logged_by_fastreid() as messages:
        trainer, types = run_recording_types(tmp_path, "TEST.EVAL_PERIOD", 0, "SOLVER.AMP.DTYPE", configured)
    assert types == {torch.float32}
    assert trainer.grad_scaler is None
    assert sum("is in float32" in message for message in messages if "SOLVER.AMP" in message and "CPU" in message) == 1


def test_a_cpu_with_bfloat16_autocasts_to_it_if_asked_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(steps, "computes", lambda *_: True)
    steps._log_cpu_dtype.cache_clear()
    with logged_by_fastreid() as messages:
        trainer, types = run_recording_types(tmp_path, "TEST.EVAL_PERIOD", 0, "SOLVER.AMP.DTYPE", "bfloat16")
    assert types == {torch.bfloat16}
    assert trainer.grad_scaler is None
    assert sum("autocasts to bfloat16" in message for message in messages if "on a CPU" in message) == 1


@pytest.mark.parametrize(
    ("device", "configured", "expected"),
    [("cuda", "float16", torch.float16), ("cuda", "bfloat16", torch.bfloat16)],
)
def test_on_a_gpu_the_config_chooses(device, configured, expected):
    assert steps.autocast_dtype(device, configured) is expected


def test_an_unknown_type_is_an_error_that_names_the_key(tmp_path):
    with pytest.raises(UsageError, match=r"SOLVER\.AMP\.DTYPE must be .* got 'half'"):
        Trainer(small_config(tmp_path, "SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", "half"))


@pytest.mark.parametrize("trainer_class", [Trainer, DefaultTrainer])
def test_a_config_without_the_plugins_keys_trains_too(tmp_path, trainer_class):
    cfg = small_config(tmp_path, "SOLVER.AMP.ENABLED", True, "SOLVER.MAX_EPOCH", 1, "TEST.EVAL_PERIOD", 1)
    del cfg.SOLVER.AMP["DTYPE"], cfg["SEED"]
    assert "mAP" in trainer_class(cfg).train()
    assert (tmp_path / "model_final.pth").exists()


class Squares(nn.Module):
    """Two losses of its inputs, which a step makes smaller."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.layer.weight.data = torch.tensor([[1.0, -2.0, 0.5], [0.25, 3.0, -1.0]])
        self.layer.bias.data.zero_()

    def forward(self, batch):
        first, second = self.layer(batch).square().mean(0)
        return {"loss_first": first, "loss_second": second}


def run(step_class, batches, steps_taken, **options):
    model = Squares()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step = step_class(model, batches, optimizer, None, **options)
    with EventStorage(0) as storage:
        for step.iter in range(steps_taken):
            step.run_step()
            storage.step()
    return step, storage


def test_in_float32_it_is_the_stock_step_with_the_stock_metrics():
    batches = list(torch.rand(4, 5, 3, generator=torch.Generator().manual_seed(0)))
    ours, our_storage = run(TrainingStep, batches, 4, precision="float32")
    stock, stock_storage = run(SimpleTrainer, batches, 4)
    assert torch.equal(ours.model.layer.weight, stock.model.layer.weight)
    for name in ("total_loss", "loss_first", "loss_second"):
        assert our_storage.history(name).values() == stock_storage.history(name).values()
    assert our_storage.histories().keys() == stock_storage.histories().keys()


def test_a_storage_that_reads_at_once_gets_no_loss_that_is_not_finite():
    batch = torch.full((2, 3), float("inf"))
    with pytest.raises(FloatingPointError, match=r"at iteration=0!\nloss_dict = .*loss_first"):
        run(TrainingStep, [batch], 1, precision="float32")


def test_several_devices_in_one_process_are_refused():
    model = Squares()
    model.device_ids = [0, 1]
    with pytest.raises(ValueError, match="one device a process"):
        TrainingStep(model, [], None, None)


def test_loading_stops_and_starts_again_with_the_next_step():
    loader = torch.utils.data.DataLoader(torch.rand(4, 3), batch_size=2, num_workers=1)
    step, _ = run(TrainingStep, loader, 1, precision="float32")
    step.stop_loading()
    assert step._data_loader_iter is None
    with EventStorage(0):
        step.run_step()
    step.stop_loading()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="loss scaling is for CUDA")
@pytest.mark.parametrize(("configured", "scales"), [("float16", True), ("bfloat16", False)])
def test_on_cuda_float16_is_scaled_and_its_scale_saved(tmp_path, configured, scales):
    options = ["MODEL.DEVICE", "cuda", "SOLVER.AMP.DTYPE", configured, "TEST.EVAL_PERIOD", 0]
    trainer, types = run_recording_types(tmp_path, *options)
    assert types == {getattr(torch, configured)}
    assert (trainer.grad_scaler is not None) == scales
    assert ("grad_scaler" in torch.load(tmp_path / "model_final.pth", weights_only=True)) == scales


class TwoLosses(nn.Module):
    """Gives a loss of the shape that it is made for."""

    def __init__(self, shape):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape))

    def forward(self, batch):
        return {"loss_fine": self.weight.sum(), "loss_mine": self.weight * batch}


def step_of(model, batches):
    return TrainingStep(model, batches, torch.optim.SGD(model.parameters(), lr=0.1), [], precision="float32")


def test_a_loss_that_is_no_scalar_is_named():
    with EventStorage(0), pytest.raises(UsageError, match=r"loss_mine must be a scalar, got \[3\]: take its mean"):
        step_of(TwoLosses((3,)), [1.0]).run_step()


def test_a_loader_that_ends_says_that_samplers_do_not():
    step = step_of(TwoLosses(()), [1.0])
    with EventStorage(0):
        step.run_step()
        with pytest.raises(UsageError, match="a sampler .* yields indices without end"):
            step.run_step()
