"""What the tests of comparisons share."""

import dataclasses

import pytest
from support.comparisons import REQUEST

from mdpr_fastreid.compare.plan import make_plan


@pytest.fixture(scope="session")
def small_plan():
    """Two methods with two seeds; its folder does not exist."""
    return make_plan(REQUEST)


@pytest.fixture
def plan_in(small_plan, tmp_path):
    """The small plan, to be run in a folder of the test's own."""
    return dataclasses.replace(small_plan, output=tmp_path / "comparison")
