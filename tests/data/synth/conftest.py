"""A set small enough to be rendered by many tests."""

from dataclasses import replace

import pytest

from mdpr_fastreid.data.synth import Request, ensure
from mdpr_fastreid.data.synth.presets import PRESETS

MICRO = replace(
    PRESETS["tiny"],
    name="micro",
    train_identities=6,
    test_identities=6,
    train_images=36,
    query_images=12,
    gallery_images=40,
    distractor_images=4,
    junk_images=3,
    train_tracklets=4,
    test_tracklets=4,
    frames=3,
)
MICRO_SIZE = (64, 32)


@pytest.fixture
def micro_request():
    return Request(MICRO, 0, MICRO_SIZE)


@pytest.fixture(scope="session")
def micro_set(tmp_path_factory):
    """A rendered set that tests must not change."""
    return ensure(tmp_path_factory.mktemp("micro"), MICRO, 0, MICRO_SIZE)
