"""Machines that cannot meet say why in one line."""

import socket

import pytest
import torch.distributed as dist
from small_runs import logged_by_fastreid

from mdpr_fastreid.engine.meeting import address_of, meet, serve
from mdpr_fastreid.errors import UsageError


@pytest.fixture
def taken():
    """A port on which another program listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
def free(taken):
    """A port on which nobody does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("address", ["tcp://", "tcp://host", "tcp://:29500", "tcp://host:port", "tcp://host:99999"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(UsageError, match="is no address: give tcp://HOST:PORT of the first machine"):
        meet("gloo", address, 0, 2)


def test_a_port_that_is_taken_is_named(taken):
    with pytest.raises(UsageError, match=f"tcp://127.0.0.1:{taken}: another program listens on this port"):
        meet("gloo", f"tcp://127.0.0.1:{taken}", 0, 2, seconds=2)


def test_the_first_process_says_that_others_did_not_come(free):
    with pytest.raises(UsageError, match="not all of the 2 processes came within 1 s; start the other machines"):
        meet("gloo", f"tcp://127.0.0.1:{free}", 0, 2, seconds=1)


@pytest.mark.parametrize(
    ("host", "warns"), [("192.0.2.1", True), ("localhost", False), ("no-such-host.invalid", False)]
)
def test_the_first_process_says_at_once_that_an_address_is_another_machines(free, host, warns):
    with logged_by_fastreid() as lines, pytest.raises(UsageError, match="not all of the 2 processes came"):
        meet("gloo", f"tcp://{host}:{free}", 0, 2, seconds=1)
    assert ["does not have this address" in line for line in lines] == [True] * warns


def test_the_others_say_that_the_first_does_not_answer(free):
    with pytest.raises(UsageError, match="nothing answers there for 1 s; start the machine of --machine-rank 0"):
        meet("gloo", f"tcp://127.0.0.1:{free}", 1, 2, seconds=1)


@pytest.mark.parametrize("served", [True, False])
def test_those_who_meet_are_a_group(free, served):
    place = serve() if served else None
    meet("gloo", address_of(place) if served else f"tcp://127.0.0.1:{free}", 0, 1, served=served, seconds=10)
    try:
        assert dist.get_world_size() == 1
    finally:
        dist.destroy_process_group()
