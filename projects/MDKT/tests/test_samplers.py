"""Batches of P identities with K items each, every identity once a round, for one process or several."""

from collections import Counter
from itertools import islice

import pytest
from fastreid.utils import comm
from mdkt.samplers import IdentityRoundSampler
from small_mdkt import config

from mdpr_fastreid.data.samplers import build_sampler
from mdpr_fastreid.errors import UsageError

# 7 identities of 1 to 7 items
IDENTITIES = [identity for identity in range(7) for _ in range(identity + 1)]


def batches(sampler, count, size=12):
    stream = list(islice(iter(sampler), count * size))
    return [stream[first : first + size] for first in range(0, len(stream), size)]


def test_every_batch_has_k_items_of_p_identities_and_a_round_every_identity_once():
    sampler = IdentityRoundSampler(IDENTITIES, 12, 4, seed=0)
    rounds = batches(sampler, 40)
    for first, second in zip(rounds[::2], rounds[1::2], strict=True):  # 7 identities are 2 batches of 3, and one over
        drawn = Counter(IDENTITIES[index] for index in first + second)
        assert set(drawn.values()) == {4} and len(drawn) == 6
    assert {IDENTITIES[index] for batch in rounds for index in batch} == set(range(7))


def test_items_of_an_identity_differ_as_far_as_it_has_so_many():
    for batch in batches(IdentityRoundSampler(IDENTITIES, 12, 4, seed=1), 30):
        for identity, drawn in Counter(IDENTITIES[index] for index in batch).items():
            different = len({index for index in batch if IDENTITIES[index] == identity})
            assert drawn == 4 and (different == 4 if identity >= 3 else different <= identity + 1)


def test_the_stream_follows_from_the_seed():
    sampler = IdentityRoundSampler(IDENTITIES, 12, 4, seed=2)
    first = batches(sampler, 5)
    assert first == batches(sampler, 5)
    sampler.reseed(3)
    assert first != batches(sampler, 5)


def test_each_process_has_whole_identities_and_together_they_have_the_batch_of_one(monkeypatch):
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    streams = []
    for rank in (0, 1):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        streams.append(batches(IdentityRoundSampler(IDENTITIES, 24, 4, seed=0), 10))
    for one, other in zip(*streams, strict=True):
        counts = [Counter(IDENTITIES[index] for index in batch) for batch in (one, other)]
        assert all(set(count.values()) == {4} and len(count) == 3 for count in counts)
        assert not counts[0].keys() & counts[1].keys()


def test_a_config_names_it():
    words = ("SOLVER.IMS_PER_BATCH", 6, "DATALOADER.NUM_INSTANCE", 2)
    cfg = config("VideoReID", "DATALOADER.SAMPLER_TRAIN", "IdentityRoundSampler", *words)
    sampler = build_sampler(cfg, [("a.jpg", identity, 0) for identity in IDENTITIES])
    assert (sampler.identities_of_batch, sampler.instances) == (3, 2)


def test_batches_that_cannot_be_filled_are_an_error():
    with pytest.raises(UsageError, match="a batch of 12 items a process .* is no multiple of .*NUM_INSTANCE 5"):
        IdentityRoundSampler(IDENTITIES, 12, 5, seed=0)
    with pytest.raises(UsageError, match="a batch takes 8 identities .* the training set has 7: lower"):
        IdentityRoundSampler(IDENTITIES, 32, 4, seed=0)
