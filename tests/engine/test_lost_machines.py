"""Which machine was lost, from what the processes leave in their store."""

import threading

import pytest
import torch.distributed as dist

from mdpr_fastreid.engine import lost_machines
from mdpr_fastreid.engine.lost_machines import _Peers, is_lost_connection, patience
from mdpr_fastreid.engine.torchrun import common_name
from mdpr_fastreid.errors import UsageError

HOSTS = ["here", "here", "there", "there", "elsewhere"]


class Unreachable:
    """A store whose machine is gone."""

    def set(self, *args):
        raise dist.DistNetworkError("Broken pipe")

    check = get = multi_get = set


@pytest.fixture
def store(monkeypatch):
    monkeypatch.setattr(lost_machines, "_SECONDS_TO_NOTICE", 0.5)
    return dist.HashStore()


def peers(store, rank=0):
    return _Peers(store, rank, HOSTS, 60.0)


def test_those_who_notice_nothing_are_lost(store):
    store.set("noticed/1", "1")
    store.set("noticed/4", "1")
    said = peers(store).lost()
    assert said.startswith(
        "there (processes 2 and 3 of 5) is gone (killed, switched off or cut off): start the run again"
    )


def test_several_machines_are_named_each(store):
    store.set("noticed/1", "1")
    assert peers(store).lost().startswith("there (processes 2 and 3 of 5) and elsewhere (process 4 of 5) is gone")


def test_what_a_process_said_before_it_ended_is_repeated(store):
    peers(store, 3).leave_word("DATASETS.NAMES Duke: no such folder")
    said = peers(store).lost()
    assert said == "process 3 of 5, on there, ended with: DATASETS.NAMES Duke: no such folder"


def test_a_network_that_failed_between_processes_that_live_says_so(store):
    for rank in range(1, 5):
        store.set(f"noticed/{rank}", "1")
    assert "between elsewhere, here and there failed, and no process did" in peers(store).lost()


def test_the_machine_of_the_store_is_named_if_the_store_is_gone(monkeypatch):
    monkeypatch.setenv("MASTER_ADDR", "first.cluster")
    assert peers(Unreachable()).lost().startswith("first.cluster, the machine that all others report to, cannot be")


@pytest.mark.parametrize(
    ("error", "is_lost"),
    [
        (RuntimeError("[/gloo/transport/tcp/pair.cc:561] Connection closed by peer [10.0.0.2]:672"), True),
        (dist.DistBackendError("NCCL communicator was aborted"), True),
        (RuntimeError("shape '[2]' is invalid for input of size 3"), False),
        (UsageError("Connection closed by peer"), False),
    ],
)
def test_only_errors_of_connections_are_taken_for_one(error, is_lost):
    assert is_lost_connection(error) == is_lost


@pytest.mark.parametrize("value", ["0", "-5", "soon", "1e9", "nan"])
def test_a_patience_that_is_no_time_is_one_line(monkeypatch, value):
    monkeypatch.setenv("MDPR_PATIENCE", value)
    with pytest.raises(UsageError, match="MDPR_PATIENCE must be seconds from 1 to 86400"):
        patience()


def names_of(store, ranks, size):
    names = {}

    def join(rank):
        names[rank] = common_name(store, rank, size, seconds=20)

    threads = [threading.Thread(target=join, args=(rank,)) for rank in ranks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return names


def test_processes_of_one_start_agree_on_a_name_that_no_earlier_start_had():
    store = dist.HashStore()
    # Of an earlier start, some processes had come and been answered, and some had not
    for key, value in {"start": "old", "old/came/1": "a", "old/answer/1": "a", "old/came/2": "b"}.items():
        store.set(key, value)
    found = []
    for _ in range(3):
        names = names_of(store, [2, 1, 3, 0], 4)
        assert len(names) == 4 and len(set(names.values())) == 1
        found.append(names[0])
    assert len({*found, "old"}) == 4


def test_processes_that_do_not_come_are_not_waited_for_for_ever():
    with pytest.raises(TimeoutError, match="the other processes of the run did not start"):
        common_name(dist.HashStore(), 0, 2, seconds=0.2)
