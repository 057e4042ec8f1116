"""Contradictory settings are refused when the model is built."""

import pytest
from support.settings import SINGLE_BRANCH, small_config, small_model

from mdpr_fastreid.errors import UsageError


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["MODEL.MDPR.BRANCHES", ("hard",)], "MODEL.MDPR.DISTILL.ENABLED needs both branches"),
        (["MODEL.MDPR.BRANCHES", ("hard",)], "MODEL.MDPR.FUSION.ENABLED needs both branches"),
        (["MODEL.MDPR.BRANCHES", ("hard",)], "'soft4', which the branch 'soft' computes, but MODEL.MDPR.BRANCHES is"),
        (["MODEL.MDPR.BRANCHES", ("hard", "harder")], "MODEL.MDPR.BRANCHES must name each of"),
        (["MODEL.MDPR.BRANCHES", ()], "MODEL.MDPR.BRANCHES must name each of"),
        (["MODEL.MDPR.FUSION.ENABLED", False], "'fusion', but MODEL.MDPR.FUSION.ENABLED is False"),
        (["MODEL.MDPR.INFERENCE_FEATURES", ("soft5",)], "'soft5' is not one of"),
        (["MODEL.MDPR.INFERENCE_FEATURES", ()], "must name one feature at least"),
        (["MODEL.MDPR.INFERENCE_FEATURES", ("soft4", "soft4")], "none twice"),
        (["MODEL.MDPR.PARTS", 0], "MODEL.MDPR.PARTS must be at least 1"),
        (["MODEL.MDPR.PARTS", 7], "MODEL.MDPR.PARTS is 7, but images of INPUT.SIZE_TRAIN .* leave only 6 rows"),
        (["MODEL.MDPR.ATTENTION.MAPS", 0], "MODEL.MDPR.ATTENTION.MAPS must be at least 1"),
        (["MODEL.BACKBONE.LAST_STRIDE", 2], "set MODEL.BACKBONE.LAST_STRIDE to 1"),
        (["MODEL.LOSSES.NAME", ("TripletLos",)], "'TripletLos' in LOSS; did you mean TripletLoss"),
    ],
)
def test_contradictions_are_named_with_their_keys(overrides, message):
    with pytest.raises(UsageError, match=message) as raised:
        small_model(*overrides)
    assert isinstance(raised.value, (ValueError, KeyError))


@pytest.mark.parametrize("branch", SINGLE_BRANCH)
def test_one_branch_alone_is_fine_without_what_needs_both(branch):
    model = small_model(*SINGLE_BRANCH[branch])
    other = {"hard": "soft", "soft": "hard"}[branch]
    assert getattr(model, other) is None
    assert not any(f".{other}" in f".{name}" for name in model.state_dict())


def test_images_of_unknown_size_are_accepted():
    assert small_model("INPUT.SIZE_TRAIN", [0], "INPUT.SIZE_TEST", [96]) is not None
    assert small_config().INPUT.SIZE_TRAIN == [96, 48]
