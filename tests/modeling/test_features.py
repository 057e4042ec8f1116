"""The description of MDPR's features is that of the model, and contradictory settings are refused when it is built."""

import pytest
from support.settings import SINGLE_BRANCH, small_config, small_model

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.modeling.features import BRANCHES, INFERENCE_FEATURES, READINGS, head_widths


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


def test_what_is_described_is_what_a_model_has():
    model = small_model("MODEL.MDPR.PARTS", 3)
    for branch in BRANCHES:
        described = {module for reading in READINGS.values() if reading.branch == branch for module in reading.modules}
        assert described == {name for name, _ in getattr(model, branch).named_children()}
        assert getattr(model.backbone, branch) is not None
    widths = head_widths(BRANCHES, parts=3, maps=2, fusion=True)
    assert list(widths) == list(model.heads.embedding_heads)
    assert {name: 16 * width for name, width in widths.items()} == {
        name: head.weight.size(1) for name, head in model.heads.embedding_heads.items()
    }


def test_the_default_inference_features_are_all_that_are_described():
    assert tuple(small_config().MODEL.MDPR.INFERENCE_FEATURES) == INFERENCE_FEATURES
