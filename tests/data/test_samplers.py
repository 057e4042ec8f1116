"""Samplers by name: FastReID's five with what makes them usable, and those of a project."""

import itertools

import numpy as np
import pytest
import torch
from fastreid.data import samplers as stock
from small_runs import small_config

from mdpr_fastreid.data import SAMPLER_REGISTRY, SeededSampler, build_train_loader, training_set
from mdpr_fastreid.data.samplers import SetReWeightSampler, build_sampler
from mdpr_fastreid.errors import UsageError

NAMES = {
    "TrainingSampler": [],
    "NaiveIdentitySampler": [],
    "BalancedIdentitySampler": [],
    "ImbalancedDatasetSampler": [],
    "SetReWeightSampler": ["DATALOADER.SET_WEIGHT", [2, 1]],
}


def items(pids=12, images=4, parts=()):
    return [(f"{i}.jpg", f"pid{i // images}", "ab"[i >= 16], *parts) for i in range(pids * images)]


def config(name, *options):
    return small_config(
        "", "DATALOADER.SAMPLER_TRAIN", name, "SOLVER.IMS_PER_BATCH", 24, *NAMES.get(name, []), *options
    )


def first(sampler, count=96):
    return list(map(int, itertools.islice(iter(sampler), count)))


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_repeats_the_stream_and_another_one_changes_it(name, monkeypatch):
    monkeypatch.setattr("fastreid.utils.comm.shared_random_seed", lambda: 11)
    sampler = build_sampler(config(name), items())
    stream = first(sampler)
    assert first(sampler) == stream
    sampler.reseed(12)
    assert first(sampler) != stream
    sampler.reseed(11)
    assert first(sampler) == stream


@pytest.mark.parametrize("name", ["TrainingSampler", "NaiveIdentitySampler", "BalancedIdentitySampler"])
def test_the_stream_is_fastreids(name):
    sampler = build_sampler(config(name), items())
    sampler.reseed(5)
    arguments = (len(items()),) if name == "TrainingSampler" else (items(), 24, 4)
    assert first(sampler) == first(getattr(stock, name)(*arguments, seed=5))


@pytest.mark.parametrize("name", NAMES)
def test_items_may_have_more_than_three_parts(name):
    assert len(first(build_sampler(config(name), items(parts=("mask", 1))))) == 96


def test_processes_share_one_stream(monkeypatch):
    def stream_of(rank, world):
        monkeypatch.setattr("fastreid.utils.comm.get_rank", lambda: rank)
        monkeypatch.setattr("fastreid.utils.comm.get_world_size", lambda: world)
        return first(Shuffled(30, seed=4), 30)

    whole = stream_of(0, 1)
    assert stream_of(0, 2)[:15] == whole[::2] and stream_of(1, 2)[:15] == whole[1::2]


def test_processes_share_the_stream_of_fastreids_imbalanced_sampler(monkeypatch):
    monkeypatch.setattr("fastreid.utils.comm.shared_random_seed", lambda: 11)

    def stream_of(rank, world):
        monkeypatch.setattr("fastreid.utils.comm.get_rank", lambda: rank)
        monkeypatch.setattr("fastreid.utils.comm.get_world_size", lambda: world)
        sampler = build_sampler(config("ImbalancedDatasetSampler"), items())
        sampler.reseed(4)
        torch.manual_seed(rank)  # what a process draws from torch's own generator is its own
        return first(sampler, 30)

    whole = stream_of(0, 1)
    assert stream_of(0, 2)[:15] == whole[::2] and stream_of(1, 2)[:15] == whole[1::2]


def test_each_identity_is_drawn_equally_often():
    unequal = [(f"{i}.jpg", "rare" if i < 2 else "frequent", "a") for i in range(40)]
    drawn = first(build_sampler(config("ImbalancedDatasetSampler"), unequal), 4000)
    assert set(drawn) == set(range(40))
    assert sum(i < 2 for i in drawn) == pytest.approx(2000, abs=200)


class Shuffled(SeededSampler):
    """A project's sampler, as the contract wants one."""

    def __init__(self, size, seed=None):
        super().__init__(seed)
        self.size = size

    @classmethod
    def from_config(cls, cfg, items):
        return cls(len(items))

    def stream(self, random: np.random.Generator):
        while True:
            yield from random.permutation(self.size).tolist()


def test_a_projects_sampler_is_built_by_its_name(tmp_path):
    SAMPLER_REGISTRY.register(Shuffled)
    try:
        loader = build_train_loader(small_config(tmp_path, "DATALOADER.SAMPLER_TRAIN", "Shuffled"))
        sampler = loader.batch_sampler.sampler
        assert isinstance(sampler, Shuffled)
        sampler.reseed(3)
        assert sorted(first(sampler, 256)) == list(range(256))
        assert first(sampler) == first(Shuffled(256, seed=3))
    finally:
        del SAMPLER_REGISTRY._obj_map["Shuffled"]


def test_an_unknown_sampler_gets_the_nearest_name():
    with pytest.raises(UsageError, match="did you mean TrainingSampler"):
        build_sampler(config("TrainingSampeler"), items())


@pytest.mark.parametrize("name", ["NaiveIdentitySampler", "BalancedIdentitySampler"])
@pytest.mark.parametrize(("batch", "message"), [(24, "takes 6 identities"), (10, "no multiple of DATALOADER.NUM_INS")])
def test_a_batch_that_identities_cannot_fill_is_an_error(tmp_path, name, batch, message):
    cfg = config(name, "SOLVER.IMS_PER_BATCH", batch)
    dataset = training_set(cfg, items(pids=4))
    with pytest.raises(UsageError, match=message):
        build_train_loader(cfg, train_set=dataset)
    with pytest.raises(UsageError, match=message):
        build_train_loader(cfg, train_set=dataset, sampler=getattr(stock, name)(items(pids=4), batch, 4, seed=0))


def test_set_reweighting_draws_each_set_by_its_weight():
    sampler = SetReWeightSampler(items(), 24, 4, set_weight=[2, 1], seed=0)
    drawn = first(sampler, 48)
    assert drawn == first(sampler, 48)
    for batch in (drawn[:24], drawn[24:]):
        assert sum(index < 16 for index in batch) == 16
        assert sum(index >= 16 for index in batch) == 8


def test_set_weights_for_other_sets_are_an_error():
    with pytest.raises(UsageError, match="3 weights for 2 sets"):
        next(iter(SetReWeightSampler(items(), 24, 4, set_weight=[1, 1, 1], seed=0)))
