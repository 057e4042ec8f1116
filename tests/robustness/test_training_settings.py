"""Settings that only the data, the model or the disk prove wrong: one line, before the first iteration."""

import shlex

import pytest
from robustness.entry_points import assert_line, assert_raises_one_line, assert_refused, train_net
from small_runs import small_config

from mdpr_fastreid.engine import Trainer, run
from mdpr_fastreid.errors import is_out_of_memory

WRONG = {
    "MODEL.HEADS.NUM_CLASSES 3": ("MODEL.HEADS.NUM_CLASSES 3 is less than the 16 identities", "leave it at 0"),
    "TEST.PRECISE_BN.ENABLED True TEST.PRECISE_BN.DATASET Market1501": ("TEST.PRECISE_BN.DATASET Market1501: ",),
    "SOLVER.IMS_PER_BATCH 100000 DATALOADER.SAMPLER_TRAIN TrainingSampler":
        ("fewer images than one batch", "SOLVER.IMS_PER_BATCH 100000"),
    "SOLVER.IMS_PER_BATCH 4000": ("1000 identities", "lower SOLVER.IMS_PER_BATCH"),
    "DATASETS.NAMES ('Market1501',)": ("data set Market1501", "FASTREID_DATASETS"),
    "MODEL.BACKBONE.PRETRAIN True MODEL.BACKBONE.NAME build_resnet_backbone MODEL.BACKBONE.PRETRAIN_PATH https://x.y/z":
        ("MODEL.BACKBONE.PRETRAIN_PATH https://x.y/z: is an address",),
}  # fmt: skip


@pytest.mark.parametrize("words", WRONG)
def test_a_trainer_refuses(words, tmp_path):
    pairs = [word if "(" not in word else ("Market1501",) for word in shlex.split(words)]
    assert_raises_one_line(lambda: Trainer(small_config(tmp_path, *pairs)), *WRONG[words])


@pytest.mark.parametrize("weights", ["https://x.y/z.pth", "none.pth", "/"])
def test_weights_to_start_from_that_are_not_there(weights, tmp_path):
    trainer = Trainer(small_config(tmp_path, "MODEL.WEIGHTS", weights))
    assert_raises_one_line(lambda: trainer.resume_or_load(resume=False), weights)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 5 bytes")])
def test_no_room_for_a_tensor_is_a_line(error, capsys):
    def main(args):
        raise error

    assert is_out_of_memory(error)
    from fastreid.engine import default_argument_parser

    assert run(main, default_argument_parser(), []) == 1
    assert_line(capsys.readouterr().err.strip(), "out of memory", "smaller")


def test_a_run_of_no_data_set_writes_no_checkpoint(capsys, tmp_path):
    outcome = train_net(["MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(tmp_path)], capsys)
    assert outcome.code == 2
    assert_refused(outcome._replace(error=outcome.error.strip().splitlines()[-1]), "data set Market1501")
    assert not list(tmp_path.glob("*.pth"))
