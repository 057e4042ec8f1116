"""A training goes on from a checkpoint of its own model and optimizer, or one line says what differs."""

import pytest
import torch
from small_runs import small_config, trained

from mdpr_fastreid.engine import Trainer
from mdpr_fastreid.errors import UsageError

EPOCH = ("SOLVER.MAX_EPOCH", 1, "TEST.EVAL_PERIOD", 0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    trained(small_config(folder, *EPOCH))
    return torch.load(folder / "model_final.pth", weights_only=True)


def trainer_of(folder, checkpoint, *options):
    torch.save(checkpoint, folder / "model_final.pth")
    (folder / "last_checkpoint").write_text("model_final.pth")
    return Trainer(small_config(folder, "SOLVER.MAX_EPOCH", 2, "TEST.EVAL_PERIOD", 0, *options))


def assert_refused(trainer, message):
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    with pytest.raises(UsageError, match=message) as caught:
        trainer.resume_or_load(resume=True)
    assert all(map(torch.equal, before, trainer.model.parameters())), "half of it was loaded"
    assert "Resume with the config that the run was started with" in str(caught.value)
    assert "\n" not in str(caught.value)


RESNET = ("MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.BACKBONE.DEPTH", "18x", "MODEL.BACKBONE.FEAT_DIM", 512)

OTHERS = {
    "another backbone": (RESNET, r"its model is another one, .* \(and \d+ more\)"),
    "longer embeddings": (("MODEL.HEADS.EMBEDDING_DIM", 8), r"heads.weight is \[16, 16\] in it and \[16, 8\] here"),
    "no neck": (("MODEL.HEADS.WITH_BNNECK", False), "it has heads.bottleneck.0.weight, which is not here"),
    "another optimizer": (("SOLVER.OPT", "SGD"), "its optimizer is Adam, and SOLVER.OPT SGD"),
    "a near relation": (("SOLVER.OPT", "AdamW"), "its optimizer is Adam, and SOLVER.OPT AdamW"),
    "other groups": (("SOLVER.HEADS_LR_FACTOR", 2.0), "its optimizer has 1 parameters in 1 groups, here 2 in 2"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_another_model_or_optimizer_is_refused(tmp_path, run, what):
    options, message = OTHERS[what]
    assert_refused(trainer_of(tmp_path, run, *options), message)


def changed(run, **changes):
    return {**run, **changes}


def without(run, name):
    return {key: value for key, value in run.items() if key != name}


DAMAGE = {
    "weights alone": (lambda run: {"model": run["model"]}, "it holds weights alone, for MODEL.WEIGHTS"),
    "half of the weights": (
        lambda run: changed(run, model=dict(list(run["model"].items())[::2])),
        "its model is another one, it has no ",
    ),
    "a word for an epoch": (lambda run: changed(run, epoch="x"), "its epoch is 'x'"),
    "no state of the optimizer": (lambda run: changed(run, optimizer={"param_groups": []}), "is damaged"),
    "another kind without its name": (
        lambda run: changed(
            without(run, "optimizer_kind"),
            optimizer={**run["optimizer"], "state": {0: {"exp_avg": torch.zeros(3)}}},
        ),
        "its optimizer's exp_avg has 3 numbers, and the parameters here",
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_what_is_no_whole_checkpoint_is_refused(tmp_path, run, what):
    change, message = DAMAGE[what]
    assert_refused(trainer_of(tmp_path, change(run)), message)


def test_its_own_checkpoint_is_resumed_with_other_schedules_and_clipping(tmp_path, run):
    trainer = trainer_of(tmp_path, run, "SOLVER.CLIP_GRADIENTS.ENABLED", True, "SOLVER.BASE_LR", 0.01)
    trainer.resume_or_load(resume=True)
    assert trainer.start_epoch == 1
    saved = next(iter(run["optimizer"]["state"].values()))["exp_avg"]
    assert torch.equal(next(iter(trainer.optimizer.state.values()))["exp_avg"], saved)


def test_a_checkpoint_without_the_optimizers_name_is_resumed(tmp_path, run):
    trainer = trainer_of(tmp_path, without(run, "optimizer_kind"))
    trainer.resume_or_load(resume=True)
    assert trainer.start_epoch == 1
