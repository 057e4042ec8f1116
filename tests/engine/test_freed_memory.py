"""What training frees is allocated again without the system, and nothing else changes."""

import resource
import subprocess
import sys

import pytest
from small_runs import small_config

from mdpr_fastreid.engine import freed_memory, trainer
from mdpr_fastreid.engine.freed_memory import keep_freed_memory
from mdpr_fastreid.engine.trainer import Trainer

glibc = pytest.mark.skipif(not keep_freed_memory(keep=False), reason="it is about glibc's allocator")


@pytest.fixture(autouse=True)
def as_it_was():
    yield
    keep_freed_memory(keep=False)


_STEPS = """
import resource, runpy, sys
keep_freed_memory = runpy.run_path(sys.argv[1])["keep_freed_memory"]
def pages_of_a_step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    pieces = [b"1" * 2**24 for _ in range(16)]
    del pieces
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
for keep in (False, True):
    assert keep_freed_memory(keep)
    pages_of_a_step()
    print(pages_of_a_step())
"""


@glibc
def test_the_second_step_allocates_what_the_first_has_freed():
    # A process whose heap is empty at first
    command = [sys.executable, "-c", _STEPS, freed_memory.__file__]
    returned, kept = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    pages = 16 * 2**24 // resource.getpagesize()
    assert returned > pages // 2
    assert kept < pages // 100


@glibc
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MALLOC_TRIM_THRESHOLD_", "131072"),
        ("MALLOC_MMAP_THRESHOLD_", "131072"),
        ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=131072"),
    ],
)
def test_what_the_environment_says_of_the_allocator_stays(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert not keep_freed_memory()


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    assert not keep_freed_memory()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(freed_memory.ctypes, "CDLL", lambda name: object())  # musl has no mallopt
    assert not keep_freed_memory()


def test_training_on_a_cpu_keeps_it(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(trainer, "keep_freed_memory", lambda: called.append(True))
    Trainer(small_config(tmp_path))
    assert called == [True]
