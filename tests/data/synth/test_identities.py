"""Who is who: look-alikes differ in little, front and back differ, and identities are many."""

from dataclasses import replace

import numpy as np
import pytest

from mdpr_fastreid.data.synth.camera import make_camera, neutral
from mdpr_fastreid.data.synth.canvas import BAG
from mdpr_fastreid.data.synth.exact import PI
from mdpr_fastreid.data.synth.identity import TEST, TRAIN, differences, look_alike_group, make_identity
from mdpr_fastreid.data.synth.presets import PRESETS
from mdpr_fastreid.data.synth.shot import make_moment, shoot

CAMERA = neutral(make_camera(0, 4, PRESETS["tiny"]))
PLAIN = make_identity(0, TEST, 4, 64, 1)
# Bag and strap, and logo and print, are drawn by the tests that look at them.
PLAIN = replace(PLAIN, logo="", back_print="", backpack="", bag="", upper_cut="t-shirt", upper_pattern="plain")


def _shot(who, turn):
    """The picture of a person standing upright in the middle, turned by ``turn``."""
    moment = make_moment((0, 1), PRESETS["tiny"], CAMERA, 0.0)
    upright = replace(moment, turn=turn, swing=0.0, box_x=0.0, box_y=0.0, box_scale=1.0, shadow=0.0, behind=False)
    return shoot(0, who, CAMERA, replace(upright, streak=False, elbows=(0.1, 0.1)), (128, 64))


def _seen(who, turn):
    return _shot(who, turn).rgb.astype(float)


def _changed(detail, turn):
    """How many pixels a change of ``PLAIN`` alters."""
    return int((np.abs(_seen(PLAIN, turn) - _seen(replace(PLAIN, **detail), turn)).max(axis=2) > 12).sum())


def _crowd(preset):
    return preset.look_alikes, preset.look_alike_share


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_share_of_the_identities_has_look_alikes_that_differ_in_one_or_two_details(name):
    preset = PRESETS[name]
    for split, count in ((TRAIN, preset.train_identities), (TEST, preset.test_identities)):
        groups = {}
        for index in range(count):
            groups.setdefault(look_alike_group(index, count, *_crowd(preset))[0], []).append(index)
        sizes = list(map(len, groups.values()))
        alone = count - round(count * preset.look_alike_share)
        assert sizes[:alone] == [1] * alone
        assert min(sizes[alone:]) >= preset.look_alikes
        for members in list(groups.values())[-40:]:
            people = [make_identity(0, split, index, count, *_crowd(preset)) for index in members]
            pairs = [(a, b) for k, a in enumerate(people) for b in people[k + 1 :]]
            assert all(1 <= len(differences(a, b)) <= 2 for a, b in pairs)


def test_look_alikes_share_body_and_main_garments():
    for index in range(32):
        one, other = (make_identity(0, TEST, k, 64, 2) for k in (index, index + 32))
        for name in (
            "height",
            "build",
            "skin",
            "upper_cut",
            "upper_colour",
            "upper_pattern",
            "lower_cut",
            "lower_colour",
        ):
            assert getattr(one, name) == getattr(other, name)


def test_look_alikes_look_different_from_some_side():
    for index in range(32):
        one, other = (make_identity(0, TEST, k, 64, 2) for k in (index, index + 32))
        views = [np.abs(_seen(one, k * PI / 4) - _seen(other, k * PI / 4)).max(axis=2) for k in range(8)]
        assert max((view > 20).sum() for view in views) >= 8, differences(one, other)


def test_no_look_alikes_when_groups_have_one_member():
    looks = {
        (p.upper_colour, p.upper_cut, p.lower_colour, p.height)
        for p in (make_identity(0, TEST, index, 50, 1) for index in range(50))
    }
    assert len(looks) == 50


@pytest.mark.parametrize(("share", "looks"), [(0.0, 40), (0.2, 36), (0.5, 30), (1.0, 20)])
def test_those_without_look_alikes_are_drawn_freely(share, looks):
    people = [make_identity(0, TEST, index, 40, 2, share) for index in range(40)]
    assert len({(p.upper_colour, p.upper_cut, p.lower_colour, p.height) for p in people}) == looks
    assert people[: 40 - round(40 * share)] == [
        make_identity(0, TEST, index, 40, 1) for index in range(40 - round(40 * share))
    ]


@pytest.mark.parametrize("look_alikes", [1, 3, 7])
def test_identities_are_distinct_within_and_across_splits(look_alikes):
    people = [make_identity(0, split, index, 750, look_alikes) for split in (TRAIN, TEST) for index in range(750)]
    assert len(set(people)) == len(people)


def test_a_logo_shows_in_front_only():
    logo = {"logo": "square", "logo_colour": "yellow", "upper_colour": "navy"}
    plain = {"upper_colour": "navy"}
    front, back = (
        np.abs(_seen(replace(PLAIN, **logo), t) - _seen(replace(PLAIN, **plain), t)).sum() for t in (0.0, PI)
    )
    assert front > 1000
    assert back == 0


def test_a_back_print_shows_from_behind_only():
    assert _changed({"back_print": "disc", "back_colour": "yellow"}, PI) > 40
    assert _changed({"back_print": "disc", "back_colour": "yellow"}, 0.0) == 0


def test_the_colour_of_a_backpack_shows_from_behind_and_from_the_side():
    red, green = (replace(PLAIN, backpack=colour) for colour in ("red", "green"))
    changed = [(np.abs(_seen(red, t) - _seen(green, t)).max(axis=2) > 12).sum() for t in (PI, PI / 2, 0.0)]
    assert changed[0] > changed[1] > 20
    assert changed[2] < changed[1] / 4


@pytest.mark.parametrize("bag", ["hand", "shoulder"])
def test_a_bag_hangs_on_its_side(bag):
    # Turned by a quarter the person walks to the right of the picture and shows the right side.
    who = replace(PLAIN, bag=bag, bag_side="right", bag_colour="yellow")
    right, left = ((_shot(who, turn).parts == BAG).sum() for turn in (PI / 2, -PI / 2))
    assert right > 40
    assert left < right / 4


def test_front_and_back_of_most_identities_differ_much_more_than_noise():
    apart = []
    for index in range(20):
        who = make_identity(0, TEST, index, 64, 2)
        apart.append((np.abs(_seen(who, 0.0) - _seen(who, PI)[:, ::-1]).max(axis=2) > 30).sum())
    assert np.median(apart) > 150
