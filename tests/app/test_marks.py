"""Marks become rows of a manifest, one for each image, and contradictions have one outcome."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.image_trees import write_images

from mdpr_fastreid.app.marks import QUERY, RIGHT, WRONG, Mark, Marks
from mdpr_fastreid.data.custom.layouts import read_records
from mdpr_fastreid.errors import UsageError


def marks(*rows):
    made = Marks()
    for path, person, kind in rows:
        made.put(Mark(path, "c1", person, kind))
    return made


@pytest.mark.parametrize(
    ("rows", "person", "kind"),
    [
        ([("a", "ann", RIGHT), ("a", "bob", WRONG)], "ann", RIGHT),
        ([("a", "bob", WRONG), ("a", "ann", RIGHT)], "ann", RIGHT),
        ([("a", "ann", RIGHT), ("a", "bob", RIGHT)], "bob", RIGHT),
        ([("a", "ann", RIGHT), ("a", "ann", WRONG)], "ann", WRONG),
        ([("a", "ann", QUERY), ("a", "bob", WRONG)], "ann", QUERY),
    ],
)
def test_of_an_image_one_mark_is_left(rows, person, kind):
    made = marks(*rows)
    assert len(made) == 1
    assert (made.by_path["a"].person, made.by_path["a"].kind) == (person, kind)


def test_what_is_right_for_one_person_is_wrong_for_another():
    made = marks(("a", "ann", RIGHT), ("b", "ann", WRONG))
    assert (made.kind_of("a", "ann"), made.kind_of("a", "bob")) == (RIGHT, WRONG)
    assert (made.kind_of("b", "ann"), made.kind_of("b", "bob"), made.kind_of("c", "ann")) == (WRONG, None, None)


def test_a_mark_can_be_taken_back_by_its_person_only():
    made = marks(("a", "ann", RIGHT))
    made.drop("a", "bob")
    assert len(made) == 1
    made.drop("a", "ann")
    assert len(made) == 0


@pytest.mark.parametrize("person", ["", "  ", "-1"])
def test_a_mark_needs_a_name_that_is_an_identity(person):
    with pytest.raises(UsageError, match="give the person a name first"):
        marks(("a", person, RIGHT))


def test_nothing_marked_is_no_manifest():
    with pytest.raises(UsageError, match="nothing is marked yet"):
        Marks().manifest()
    with pytest.raises(UsageError, match="begin or end with a space"):
        marks(("/a.png ", "ann", RIGHT)).manifest()


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]))


@settings(max_examples=40, deadline=None)
@given(
    person=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(
        lambda t: t.strip() not in ("", "-1")
    ),
    camera=st.text(st.characters(exclude_categories=["Cs", "Cc"])),
)
def test_whatever_a_person_is_called_the_manifest_is_read_as_it_was_meant(tmp_path_factory, person, camera):
    folder = tmp_path_factory.mktemp("marks")
    names = ["a,b.png", 'c"d.png', "e\nf.png", "g h.png"]
    paths = [str(path) for path in write_images(folder / "images", names)]
    made = Marks()
    for path, kind in zip(paths, (QUERY, RIGHT, RIGHT, WRONG), strict=True):
        made.put(Mark(path, camera, person, kind))
    (folder / "manifest.csv").write_text(made.manifest(), encoding="utf-8", newline="")
    records = read_records(folder)
    assert [record.path for record in records] == paths[:3]
    assert {(record.identity, record.camera, record.split) for record in records} == {
        (person.strip(), camera.strip(), "train")
    }
