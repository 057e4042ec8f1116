"""What the tests of comparisons share."""

import dataclasses

import pytest
from support import played_runs
from support.comparisons import REQUEST

from mdpr_fastreid.compare import launch
from mdpr_fastreid.compare.plan import make_plan


@pytest.fixture(scope="session")
def small_plan():
    """Two methods with two seeds; its folder does not exist."""
    return make_plan(REQUEST)


@pytest.fixture
def plan_in(small_plan, tmp_path):
    """The small plan, to be run in a folder of the test's own."""
    return dataclasses.replace(small_plan, output=tmp_path / "comparison")


@pytest.fixture
def play_of(plan_in):
    """Prepares the small plan and gives its runs the words that their jobs play; ``finish`` to those without any."""
    cloudpickle = pytest.importorskip("cloudpickle")  # of submitit, an extra

    def give(**words):
        left, _ = launch.prepare(plan_in)
        for run in plan_in.runs:
            played_runs.rehearse(plan_in.folder(run), *words.get(run.name.replace("/", "_"), ["finish"]))
        return left

    cloudpickle.register_pickle_by_value(played_runs)  # jobs do not find the tests' modules
    yield give
    cloudpickle.unregister_pickle_by_value(played_runs)
