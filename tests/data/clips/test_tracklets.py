"""Tracklets of a set's own, of its images, and all those of an identity."""

import pytest

from mdpr_fastreid.data import Item
from mdpr_fastreid.data.clips.tracklets import all_frames, check_tracklets, grouped, of_one_image, with_views
from mdpr_fastreid.errors import UsageError

IMAGES = [
    ("x/b_c1.png", "p1", "c1"),
    ("y/a_c1.png", "p1", "c1"),
    ("x/a_c2.png", "p1", "c2"),
    ("x/a_c1.png", "p2", "c1"),
]


def clips(items):
    return [item.fields["clip"] for item in items]


def test_images_of_an_identity_under_a_camera_are_a_tracklet_in_order_of_file_name():
    items = grouped(IMAGES)
    assert items == IMAGES, "each item stays an item"
    both = ("y/a_c1.png", "x/b_c1.png")
    assert clips(items) == [both, both, ("x/a_c2.png",), ("x/a_c1.png",)]
    assert clips(items)[0] is clips(items)[1]


def test_items_with_a_tracklet_keep_it_and_other_fields_stay():
    own = Item("x/t1.png", "p1", "c1", {"clip": ("x/t1.png", "x/t2.png")})
    masked = Item("x/m.png", "p1", "c1", {"mask": "m.png"})
    items = grouped([own, masked])
    assert items[0] is own
    assert items[1].fields == {"mask": "m.png", "clip": ("x/m.png",)}
    assert clips(of_one_image([own, masked])) == [own.fields["clip"], ("x/m.png",)]


def test_an_item_without_a_tracklet_is_named_with_the_way_out():
    with pytest.raises(UsageError, match=r"y/a_c1\.png: its data set gives no tracklet .*INPUT.CLIP.FROM_IMAGES"):
        check_tracklets([*grouped(IMAGES[:1]), IMAGES[1]])
    check_tracklets(grouped(IMAGES))


def test_views_are_all_tracklets_of_the_identity_once_each_and_shared():
    tracklets = [("a1", "a2"), ("b1",), ("a1", "a2"), ("c1", "c2", "c3"), ("d1",)]
    labels = [("p1", "c1"), ("p1", "c2"), ("p1", "c1"), ("p1", "c1"), ("p2", "c1")]
    items = [Item(t[0], *label, {"clip": t, "mask": "m"}) for t, label in zip(tracklets, labels, strict=True)]
    views = with_views(items, of_cameras=False)
    assert views == items and all(item.fields["mask"] == "m" for item in views)
    assert clips(views) == [(("a1", "a2"), ("b1",), ("c1", "c2", "c3"))] * 4 + [(("d1",),)]
    assert len({id(files) for files in clips(views)}) == 2
    cameras = with_views(items, of_cameras=True)
    assert clips(cameras) == [((("a1", "a2"), ("c1", "c2", "c3")), (("b1",),))] * 4 + [((("d1",),),)]
    assert list(all_frames(clips(cameras)[0])) == ["a1", "a2", "c1", "c2", "c3", "b1"]
