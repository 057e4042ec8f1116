"""A batch in parts, and in several processes, has the gradients of the batch at once."""

import copy

import pytest
import torch
import torch.distributed as dist
from fastreid.modeling import build_model
from fastreid.utils import comm
from small_runs import small_config as baseline_config
from small_runs import trained, weights_of
from support.gradients import assert_same_state, images_of, stepped, without_statistics
from support.settings import small_model
from torch import nn

from mdpr_fastreid.engine import steps
from mdpr_fastreid.engine.batch_rows import LossInputs, parts_of
from mdpr_fastreid.engine.launch import distributed, launch
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.modeling.all_processes import rows_of_all


def mdpr(*overrides):
    torch.manual_seed(0)
    recomputed = ["MODEL.MDPR.CHECKPOINT_STAGES", (4,), "MODEL.MDPR.EMBEDDING_DIM", 16]
    return small_model("INPUT.SIZE_TRAIN", [64, 32], "INPUT.SIZE_TEST", [64, 32], *recomputed, *overrides).double()


def baseline(*overrides):
    torch.manual_seed(0)
    cfg = baseline_config("unused", "MODEL.HEADS.NUM_CLASSES", 4, "MODEL.BACKBONE.DROP_RATIO", 0.0, *overrides)
    return build_model(cfg).double()


def moco():
    return baseline("MODEL.META_ARCHITECTURE", "MoCo", "MODEL.QUEUE_SIZE", 16)


@pytest.mark.parametrize(("build", "counts"), [(baseline, (2, 4)), (moco, (2,)), (mdpr, (3,))])
def test_parts_have_the_losses_and_gradients_of_the_batch_at_once(build, counts):
    start = without_statistics(build())
    plain, batch = copy.deepcopy(start), images_of(8)
    expected = stepped(plain, [batch])
    for parts in counts:
        cut = copy.deepcopy(start)
        losses = stepped(cut, [copy.deepcopy(batch)], accumulate=parts)
        assert losses == pytest.approx(expected, rel=1e-9)
        assert_same_state(cut, plain)
    trained_parameters = [name for name, parameter in start.named_parameters() if parameter.requires_grad]
    moved = [
        name for name in trained_parameters if not torch.equal(start.get_parameter(name), plain.get_parameter(name))
    ]
    assert len(moved) > 0.9 * len(trained_parameters)


def test_a_part_is_normalised_by_itself_counted_once_and_sees_the_same_random_numbers_twice():
    model, batch = baseline("MODEL.BACKBONE.DROP_RATIO", 0.5), images_of(8)
    by_hand, masks = copy.deepcopy(model).train(), []
    model.backbone[3].register_forward_hook(lambda module, inputs, output: masks.append(output == 0))
    torch.manual_seed(3)
    stepped(model, [copy.deepcopy(batch)], accumulate=2)
    drawn = torch.rand(1)
    assert [len(mask) for mask in masks] == [4, 4, 4]  # first part, last part, first part again
    assert torch.equal(masks[0], masks[2])
    assert not torch.equal(masks[0], masks[1])

    torch.manual_seed(3)
    with torch.no_grad():
        for rows in (slice(0, 4), slice(4, 8)):
            by_hand.heads(by_hand.backbone(by_hand.preprocess_image(batch["images"][rows])), batch["targets"][rows])
    assert torch.equal(drawn, torch.rand(1))
    assert model.backbone[1].num_batches_tracked == 2
    statistics = [name for name, _ in by_hand.named_buffers() if "running" in name]
    assert statistics
    for name in statistics:
        torch.testing.assert_close(model.get_buffer(name), by_hand.get_buffer(name), rtol=1e-12, atol=0)


def test_autocast_forgets_the_weights_that_it_cast_without_gradients(monkeypatch):
    monkeypatch.setattr(steps, "computes", lambda *_: True)
    start = baseline().float()
    plain, cut = copy.deepcopy(start), copy.deepcopy(start)
    batch = {name: value.to(torch.float32) if name == "images" else value for name, value in images_of(8).items()}
    stepped(without_statistics(plain), [batch], precision="bfloat16")
    stepped(without_statistics(cut), [batch], precision="bfloat16", accumulate=2)
    for name, value in plain.named_parameters():
        gradient, of_cut = (start.get_parameter(name) - one for one in (value, cut.get_parameter(name)))
        assert (of_cut - gradient).norm() <= 0.1 * gradient.norm(), name


def test_a_batch_is_cut_into_consecutive_parts_with_all_that_it_has():
    batch = {"images": torch.arange(7), "paths": list("abcdefg"), "masks": {"part": torch.ones(7, 2)}, "note": "same"}
    parts = parts_of(batch, 3)
    assert torch.equal(torch.cat([part["images"] for part in parts]), batch["images"])
    assert [part["paths"] for part in parts] == [list("ab"), list("cd"), list("efg")]
    assert [len(part["masks"]["part"]) for part in parts] == [2, 2, 3]
    assert {part["note"] for part in parts} == {"same"}
    assert parts_of(batch, 1) == [batch]
    with pytest.raises(UsageError, match="SOLVER.ACCUMULATE 4: a batch of 7 images .* at most 3 parts of 2"):
        parts_of(batch, 4)


def test_what_losses_get_is_known_by_its_rows_and_a_tensor_that_is_there_twice_is_one():
    shared, weight = torch.ones(4, 2), nn.Parameter(torch.ones(4, 2))
    inputs = LossInputs(({"a": shared, "b": [shared, None, torch.zeros(4)]},), {"weight": weight, "scale": 2.0}, 4)
    assert len(inputs.rows) == 2
    args, kwargs = inputs.with_rows([row + 1 for row in inputs.rows])
    assert args[0]["a"] is args[0]["b"][0]
    assert args[0]["a"].max() == 2
    assert kwargs == {"weight": weight, "scale": 2.0}
    for what, said in ((torch.ones(3, 4), r"tensor \[3, 4\]"), (torch.ones(()), r"tensor \[\]"), (object(), "object")):
        with pytest.raises(UsageError, match=f"SOLVER.GATHER .* it gets a {said}, and not"):
            LossInputs((what,), {}, 4)


class Losses(nn.Module):
    """A model whose training forward pass ends as its test says."""

    def __init__(self, ending):
        super().__init__()
        self.layer, self.ending = nn.Linear(2, 2), ending

    def losses(self, outputs, targets):
        return {"loss_a": (outputs - targets[:, None]).square().mean()}

    def forward(self, batch):
        outputs = self.layer(batch["images"])
        return self.ending(self, outputs, batch["targets"])


ENDINGS = {
    "does not call its method `losses`": lambda self, outputs, targets: {"loss_a": outputs.mean()},
    "computes loss_b outside its method `losses`": lambda self, outputs, targets: {
        **self.losses(outputs, targets),
        "loss_b": outputs.mean(),
    },
    "reads 'loss_a' of what its method `losses` gave": lambda self, outputs, targets: {
        "loss_a": self.losses(outputs, targets)["loss_a"]
    },
    "calls its method `losses` 2 times": lambda self, outputs, targets: {
        **self.losses(outputs, targets),
        **self.losses(outputs, targets),
    },
}
BATCH = {"images": torch.arange(8.0).reshape(4, 2), "targets": torch.tensor([0, 0, 1, 1])}


@pytest.mark.parametrize("said", ENDINGS)
def test_losses_that_are_computed_elsewhere_are_refused_in_a_line(said):
    model = Losses(ENDINGS[said])
    words = "calls its method `losses` 0 times" if said.startswith("does not call") else said
    with pytest.raises(UsageError, match="^SOLVER.ACCUMULATE 2: the losses .* are computed in one method") as error:
        stepped(model, [BATCH], accumulate=2)
    assert f"Losses {words} (docs/extending.md)" in str(error.value)
    assert "losses" not in model.__dict__


def test_what_is_done_to_the_losses_behind_the_method_counts_and_losses_may_be_a_module():
    def half(self, outputs, targets):
        return {name: loss / 2 for name, loss in self.losses(outputs, targets).items()}

    plain = Losses(half)
    cut = copy.deepcopy(plain)
    assert stepped(plain, [BATCH]) == pytest.approx(stepped(cut, [BATCH], accumulate=2))
    assert_same_state(cut, plain, 1e-6)

    class Mean(nn.Module):
        def forward(self, outputs, targets):
            return {"loss_a": (outputs.mean(dim=1) - targets).abs().amax()}

    cut = Losses(half)
    cut._modules["losses"] = Mean()
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(Losses, "losses")
        plain = copy.deepcopy(cut)
        assert stepped(plain, [BATCH]) == pytest.approx(stepped(cut, [BATCH], accumulate=2))
    assert_same_state(cut, plain, 1e-6)


def test_a_model_without_losses_is_refused_before_the_first_step():
    with pytest.raises(UsageError, match="SOLVER.ACCUMULATE 2: .* and Linear has no method `losses`"):
        stepped(nn.Linear(2, 2), [BATCH], accumulate=2)


def test_gathering_in_one_process_is_nothing():
    plain, gathering = nn.Linear(2, 2), nn.Linear(2, 2)  # has no losses, and is not asked
    gathering.load_state_dict(plain.state_dict())

    class Sum(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def forward(self, batch):
            return {"loss_a": self.layer(batch["images"]).sum()}

    stepped(Sum(plain), [BATCH])
    stepped(Sum(gathering), [BATCH], gather=True)
    assert_same_state(gathering, plain, 0)


def test_a_run_in_parts_resumes_as_it_went_on(tmp_path):
    """With dropout, batch norm, evaluation in between, clipping, and frozen layers for a while."""
    options = ["SEED", 3, "SOLVER.ACCUMULATE", 3, "SOLVER.CLIP_GRADIENTS.ENABLED", True, "TEST.EVAL_PERIOD", 1]
    options += ["MODEL.FREEZE_LAYERS", ["backbone"], "SOLVER.FREEZE_ITERS", 2]
    trained(baseline_config(tmp_path / "whole", *options))
    trained(baseline_config(tmp_path / "cut", *options, "SOLVER.MAX_EPOCH", 1))
    trained(baseline_config(tmp_path / "cut", *options), resume=True)
    whole, cut = (weights_of(tmp_path / name / "model_final.pth") for name in ("whole", "cut"))
    assert all(torch.equal(cut[name], whole[name]) for name in whole)


IN_TWO = {
    "at once": (baseline, {"gather": True}),
    "in parts": (mdpr, {"gather": True, "accumulate": 2}),
}


def half(batch, parts):
    """What a process has of each part of the whole batch."""
    rows = torch.arange(8).reshape(parts, comm.get_world_size(), -1)[:, comm.get_rank()].flatten()
    return {name: value[rows] for name, value in batch.items()}


def step_in_two(folder):
    """Synchronised batch norm everywhere."""
    whole = torch.arange(6.0).reshape(3, 2).requires_grad_()
    mine = whole[comm.get_rank() : comm.get_rank() + 1] * 1
    rows, flags = rows_of_all([mine, torch.tensor([bool(comm.get_rank())])])
    assert torch.equal(rows, whole[:2].detach())
    assert flags.tolist() == [False, True]
    (rows * torch.tensor([[1.0, 2], [3, 4]])).sum().backward()
    own = [[2.0, 4], [6, 8]][comm.get_rank()]  # twice the own gradient, as two processes are averaged
    assert torch.equal(whole.grad[comm.get_rank()], torch.tensor(own))

    norms = ["MODEL.BACKBONE.NORM", "syncBN", "MODEL.HEADS.NORM", "syncBN"]
    for name, (build, options) in IN_TWO.items():
        model = build(*norms)
        wrapped = distributed(model, broadcast_buffers=False)
        batch = half(images_of(8), options.get("accumulate", 1))
        losses = stepped(wrapped, [batch], **options)
        torch.save(model.state_dict(), f"{folder}/{name} {comm.get_rank()}.pth")
        if comm.is_main_process():
            torch.save(losses, f"{folder}/{name}.pth")
    dist.barrier()


@pytest.mark.skipif(torch.cuda.is_available(), reason="tells what happens without CUDA")
def test_two_processes_that_gather_and_synchronise_are_one_with_the_whole_batch(tmp_path):
    """Losses, gradients and statistics, those of the predictors within MDPR's losses too; at once and in parts."""
    launch(step_in_two, 2, dist_url="auto", args=(str(tmp_path),))
    for name, (build, options) in IN_TWO.items():
        one = build()
        losses = stepped(one, [images_of(8)], accumulate=options.get("accumulate", 1))
        assert torch.load(tmp_path / f"{name}.pth") == pytest.approx(losses, rel=1e-9)
        for rank in (0, 1):
            two = build()
            two.load_state_dict(torch.load(tmp_path / f"{name} {rank}.pth"))
            assert_same_state(two, one)
