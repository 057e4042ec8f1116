"""Measurements in processes of their own."""

import os

import pytest

from mdpr_fastreid.bench.processes import in_new_process, resident_memory


def test_the_result_comes_from_another_process():
    assert in_new_process(os.getpid) != os.getpid()


def test_a_process_that_dies_is_told_with_what_it_measured_and_its_exit_code():
    with pytest.raises(RuntimeError, match=r"measuring 3 ended with exit code 3"):
        in_new_process(os._exit, 3)


def test_memory_that_is_held_is_counted():
    before = resident_memory("VmRSS")
    held = bytearray(os.urandom(1)) * (256 << 20)
    assert 0.2 < resident_memory("VmRSS") - before < 0.3
    assert len(held) == 256 << 20
    assert resident_memory("VmHWM") >= resident_memory("VmRSS")
