"""Several processes on one CPU: the groups, the weights they train, and how a failure ends."""

import multiprocessing
import os
import pickle
import signal
import time

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from fastreid.utils import comm
from small_runs import small_config, weights_of

from mdpr_fastreid.engine import Trainer
from mdpr_fastreid.engine import launch as launching
from mdpr_fastreid.engine.launch import launch
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.weights import load_for_evaluation

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="tells what happens without CUDA")

# Losses that are means over the batch, no statistics of it, and the same images whatever the rank
OPTIONS = ["MODEL.BACKBONE.NORM", "FrozenBN", "MODEL.BACKBONE.DROP_RATIO", 0.0, "MODEL.HEADS.WITH_BNNECK", False]
OPTIONS += ["INPUT.FLIP.ENABLED", False]
OPTIONS += ["MODEL.LOSSES.NAME", ("CrossEntropyLoss",), "DATALOADER.SAMPLER_TRAIN", "TrainingSampler", "SEED", 4]
OPTIONS += ["SOLVER.OPT", "SGD", "SOLVER.BASE_LR", 0.01, "SOLVER.MAX_EPOCH", 1, "SOLVER.WARMUP_ITERS", 0]
OPTIONS += ["TEST.EVAL_PERIOD", 1]


def train(folder):
    """Four steps, in float64 so that only a wrong gradient tells the runs apart, then evaluation."""
    torch.set_default_dtype(torch.float64)
    try:
        trainer = Trainer(small_config(folder, *OPTIONS))
    finally:
        torch.set_default_dtype(torch.float32)
    initial = trainer.model.state_dict()
    if comm.is_main_process():
        torch.save({k.removeprefix("module."): v for k, v in initial.items()}, os.path.join(folder, "initial.pth"))
    trainer.train()


def train_and_check_groups(folder, start_method):
    rank = comm.get_rank()
    # Of the loaders' workers: those that are spawned import everything anew in every epoch
    assert multiprocessing.get_start_method() == start_method
    assert (comm.get_world_size(), comm.get_local_size(), comm.get_local_rank()) == (2, 2, rank)
    assert comm.all_gather({"rank": rank}) == [{"rank": 0}, {"rank": 1}]
    assert comm.gather(rank, dst=0) == ([0, 1] if rank == 0 else [])
    seeds = comm.all_gather(comm.shared_random_seed())
    assert seeds[0] == seeds[1]
    assert torch.get_num_threads() == (1 if "OMP_NUM_THREADS" in os.environ else max(1, os.cpu_count() // 2))
    train(folder)

    both_here = comm._LOCAL_PROCESS_GROUP
    launching._set_local_groups([[0], [1]])  # as on two machines
    assert (comm.get_local_size(), comm.get_local_rank()) == (1, 0)
    comm._LOCAL_PROCESS_GROUP = both_here


def fail_second(error):
    if comm.get_rank() == 1:
        raise error
    dist.barrier()


def kill_second():
    if comm.get_rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    dist.barrier()


def test_two_processes_on_half_batches_give_the_weights_of_one_on_whole_batches(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    launch(train, 1, args=(str(tmp_path / "one"),))
    launch(train_and_check_groups, 2, dist_url="auto", args=(str(tmp_path / "two"), multiprocessing.get_start_method()))
    one, two = (weights_of(tmp_path / name / "model_final.pth") for name in ("one", "two"))
    initial = torch.load(tmp_path / "one/initial.pth", weights_only=True)
    assert one.keys() == two.keys()
    assert one["backbone.0.weight"].dtype == torch.float64
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-8, atol=1e-10)
    assert (one["backbone.0.weight"] - initial["backbone.0.weight"]).abs().max() > 1e-5
    metrics = [torch.load(tmp_path / name / "model_final.pth", weights_only=True)["metric"] for name in ("one", "two")]
    assert metrics[0] == pytest.approx(metrics[1], abs=1e-2)


def test_an_error_in_one_process_ends_the_run_with_it(tmp_path):
    start = time.monotonic()
    with pytest.raises(mp.ProcessRaisedException, match="(?s)process 1 of 2 failed.*ZeroDivisionError: of rank 1"):
        launch(fail_second, 2, dist_url="auto", args=(ZeroDivisionError("of rank 1"),))
    assert time.monotonic() - start < 120
    assert not mp.active_children()


def test_a_mistake_of_the_users_comes_out_of_a_process_as_itself(tmp_path):
    records = [(2.0, 0, 10, None, "lost its peer"), (1.0, 1, 11, UsageError("no such folder"), "Traceback")]
    for record in records:
        (tmp_path / str(record[1])).write_bytes(pickle.dumps(record))
    error = launching._first_error(RuntimeError("noticed"), [], tmp_path)
    assert isinstance(error, UsageError)
    assert str(error) == "no such folder"


def test_a_killed_process_is_named_not_the_peer_that_lost_its_connection():
    with pytest.raises(mp.ProcessExitedException, match="process 1 of 2 was killed by SIGKILL"):
        launch(kill_second, 2, dist_url="auto")


def test_several_machines_need_an_address():
    with pytest.raises(UsageError, match="--dist-url tcp://HOST:PORT"):
        launch(train, 1, num_machines=2, dist_url="auto")


def test_too_few_gpus_are_told_before_anything_starts(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match="--num-gpus 4, but this machine has 2"):
        launch(train, 4, dist_url="auto")


def test_one_process_runs_here():
    seen = []
    launch(seen.append, 1, args=(os.getpid(),))
    assert seen == [os.getpid()]


def train_with_statistics(folder):
    options = ["MODEL.BACKBONE.NORM", "BN", "TEST.FOLDED", False, "SOLVER.MAX_EPOCH", 2]
    trainer = Trainer(small_config(folder, *OPTIONS, *options))
    trainer.train()
    torch.save(trainer.model.module.state_dict(), os.path.join(folder, f"rank{comm.get_rank()}.pth"))
    if comm.is_main_process():
        torch.save(float(trainer._last_eval_results["mAP"]), os.path.join(folder, "reported.pth"))


def test_the_model_that_is_reported_is_the_one_that_is_saved(tmp_path):
    """Batch norm has seen other images in each process."""
    launch(train_with_statistics, 2, dist_url="auto", args=(str(tmp_path),))
    first, second = (torch.load(tmp_path / f"rank{rank}.pth") for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    cfg = small_config(tmp_path, *OPTIONS, "MODEL.BACKBONE.NORM", "BN", "TEST.FOLDED", False)
    cfg.MODEL.HEADS.NUM_CLASSES = len(first["heads.weight"])
    model = Trainer.build_model(cfg)
    load_for_evaluation(model, str(tmp_path / "model_final.pth"))
    assert Trainer.test(cfg, model)["mAP"] == pytest.approx(torch.load(tmp_path / "reported.pth"), abs=1e-6)
