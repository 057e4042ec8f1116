"""Columns of names and facts, in few bytes."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdpr_fastreid.search import columns as module
from mdpr_fastreid.search.columns import Columns, Texts
from mdpr_fastreid.search.conditions import Condition, Conditions

ANY = st.text(st.characters(exclude_categories=[]), max_size=12)


@given(st.lists(ANY, max_size=20))
def test_texts_of_any_letters_come_back(texts):
    assert list(Texts.of(texts)) == texts


@given(st.lists(ANY, unique=True, max_size=20), st.lists(ANY, max_size=5))
def test_names_are_found_by_their_rows_and_others_are_not(names, others):
    columns = made(names)
    asked = [*names, *others]
    assert columns.find(asked).tolist() == [names.index(name) if name in names else -1 for name in asked]
    assert columns.first_repeated() is None


def test_names_whose_hashes_are_the_same_are_told_apart(monkeypatch):
    monkeypatch.setattr(module, "_key", lambda name: len(name))
    columns = made(["aa", "b", "cc", "dd"])
    assert columns.find(["dd", "cc", "aa", "b", "xx", "yyy"]).tolist() == [3, 2, 0, 1, -1, -1]
    assert columns.first_repeated() is None
    assert made(["aa", "bb", "cc", "bb"]).first_repeated() == "bb"


def test_what_is_written_is_read(tmp_path):
    columns = made(["a\n", "b/\udcff", "张"])
    file = io.BytesIO()
    columns.write(file)
    file.seek(0)
    again = Columns.read(file)
    assert list(again.names) == list(columns.names) and again.cameras == columns.cameras
    for name in ("camera_codes", "identity_codes", "root_codes", "times", "keys", "key_rows"):
        np.testing.assert_array_equal(getattr(again, name), getattr(columns, name))


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"no zip at all"])
def test_something_else_is_no_columns(content):
    with pytest.raises(ValueError, match=r"No data|zip|pickle|File is not"):
        Columns.read(io.BytesIO(content))


def made(names):
    count = len(names)
    return Columns.of(names, [f"c{n % 2}" for n in range(count)], ["p"] * count, np.arange(count), ["/r"] * count)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.floats(-5, 5)), max_size=12),
    st.none() | st.frozensets(st.sampled_from("abcd")),
    st.frozensets(st.sampled_from("abcd")),
    st.none() | st.floats(-5, 5),
    st.none() | st.floats(-5, 5),
)
def test_a_condition_is_what_it_says_image_by_image(images, cameras, without, since, until):
    names, codes = module.coded([camera for camera, _ in images])
    times = np.array([np.nan if time is None else time for _, time in images], dtype=float)
    passing = Condition(cameras, without, since, until).passes(codes, names, times)
    expected = [
        (cameras is None or camera in cameras)
        and camera not in without
        and (since is None or (time is not None and time >= since))
        and (until is None or (time is not None and time <= until))
        for camera, time in images
    ]
    assert passing.tolist() == expected


def test_queries_under_one_condition_are_searched_together():
    groups = Conditions(without_cameras=[["a"], [], ["a"], ["b", "a"], ("a", "b")]).groups(5)
    assert sorted(groups.values()) == [[0, 2], [1], [3, 4]]
    assert list(Conditions().groups(3).values()) == [[0, 1, 2]]
    assert not Condition().asks() and Condition(cameras=frozenset()).asks()
