"""Groupings by name, the built-in ones and a user's own."""

import copy
import pickle

import pytest
from small_runs import small_config

from mdpr_fastreid.config import check_config
from mdpr_fastreid.data.masks import PART_GROUPS, ConfidenceFieldGroups, LabelImageGroups, part_groups
from mdpr_fastreid.errors import UsageError

PARTS = {
    "synthreid_four": ("head", "torso and arms", "legs", "shoes"),
    "synthreid_five": ("head", "torso and arms", "legs", "shoes", "bag"),
    "synthreid_eight": ("hair", "face", "upper", "arms", "lower", "legs", "shoes", "bag"),
    "atr": ("head", "torso", "legs", "shoes", "bag"),
    "lip": ("head", "torso", "legs", "shoes"),
    "pifpaf_eight": (*("head", "left arm", "right arm", "torso", "left leg", "right leg", "left foot", "right foot"),),
    "pifpaf_five_v": ("head", "upper arms and torso", "lower arms and torso", "legs", "feet"),
}


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(PART_GROUPS, "_obj_map", dict(PART_GROUPS._obj_map))


@pytest.mark.parametrize("name", PARTS)
def test_a_config_names_a_grouping_with_its_parts_in_the_order_of_classes(name):
    cfg = small_config("logs", "INPUT.FIELDS", ("mask",), "INPUT.MASK.GROUPS", name)
    check_config(cfg)
    groups = part_groups(cfg)
    assert (groups.name, groups.parts) == (name, PARTS[name])
    assert copy.deepcopy(groups) == groups == pickle.loads(pickle.dumps(groups))


def test_every_built_in_grouping_is_listed_here():
    assert sorted(PART_GROUPS._obj_map) == sorted(PARTS)


def test_left_and_right_are_mirrored_where_parts_have_sides():
    for groups in PART_GROUPS._obj_map.values():
        named = {(groups.parts[left - 1], groups.parts[right - 1]) for left, right in groups.mirror}
        sides = {(part, part.replace("left", "right")) for part in groups.parts if part.startswith("left ")}
        assert named == sides
    assert PART_GROUPS.get("pifpaf_eight").mirror == ((2, 3), (5, 6), (7, 8))


def test_no_grouping_is_one_line_with_those_that_there_are():
    with pytest.raises(UsageError, match=r"INPUT\.MASK\.GROUPS names no part grouping; there are atr, lip, pifpaf"):
        part_groups(small_config("logs"))


def test_an_unknown_name_is_one_line_with_the_nearest(registry):
    cfg = small_config("logs", "INPUT.FIELDS", ("mask",), "INPUT.MASK.GROUPS", "pifpaf_eigth")
    for call in (part_groups, check_config):
        with pytest.raises(UsageError, match="did you mean pifpaf_eight") as caught:
            call(cfg)
        assert "\n" not in str(caught.value)
    cfg.INPUT.MASK.GROUPS = "qqq"
    with pytest.raises(UsageError, match=r"INPUT\.MASK\.GROUPS: nothing .* known: atr, lip"):
        check_config(cfg)


def test_a_wrong_name_is_not_checked_where_no_mask_is_asked_for():
    check_config(small_config("logs", "INPUT.MASK.GROUPS", "qqq"))


def test_a_users_own_grouping_is_known_once_it_is_registered(registry):
    own = PART_GROUPS.register(LabelImageGroups("halves", {"upper": (1, 2), "lower": (3,)}, background=(0, 9)))
    cfg = small_config("logs", "INPUT.FIELDS", ("mask",), "INPUT.MASK.GROUPS", "halves")
    check_config(cfg)
    assert part_groups(cfg) is own


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LabelImageGroups("x", {}), "0 parts; 1 to 254"),
        (lambda: LabelImageGroups("x", {"a": (1,), "b": (2, 1)}), "each in one part"),
        (lambda: LabelImageGroups("x", {"a": (0,)}), "each in one part"),
        (lambda: LabelImageGroups("x", {"a": (255,)}), "from 0 to 254"),
        (lambda: LabelImageGroups("x", {"a": (1,), "b": (2,)}, mirror=((0, 1),)), "classes from 1 to 2"),
        (lambda: LabelImageGroups("x", {"a": (1,), "b": (2,)}, mirror=((1, 2), (2, 1))), "one pair at most"),
        (lambda: ConfidenceFieldGroups("x", {"a": (36,)}), "channels.*from 0 to 35"),
        (lambda: ConfidenceFieldGroups("x", {"a": ()}), "one or more"),
    ],
)
def test_a_grouping_that_cannot_work_is_one_line(make, message):
    with pytest.raises(UsageError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
