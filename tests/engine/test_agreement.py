"""Processes that would train different things are refused before the first step."""

import socket

import pytest
import torch.distributed as dist
from fastreid.utils import comm
from small_runs import logged_by_fastreid, small_config

from mdpr_fastreid.engine import agreement
from mdpr_fastreid.engine.agreement import check_agreement, check_shared_folder, code_hash, first_difference, items_hash
from mdpr_fastreid.errors import UsageError

ITEMS = [("a/0001.jpg", 0, 1), ("a/0002.jpg", 0, 2), ("a/0003.jpg", 1, 1)]


@pytest.fixture
def other_process(monkeypatch):
    """A second process, on ``other``, whose answers a test sets."""
    answers = {}

    def gather(found, mine):
        found[0] = mine
        found[1] = ("other", answers["of"](mine[1]))

    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_gather_object", gather)
    monkeypatch.setattr(dist, "broadcast_object_list", lambda objects, source: None)
    monkeypatch.setattr(comm, "synchronize", lambda: None)
    monkeypatch.setattr(socket, "gethostname", lambda: "first")
    return answers


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        (
            "SOLVER.BASE_LR",
            "0.1",
            r"SOLVER\.BASE_LR is 0\.00035 in process 0, on first, and 0\.1 in process 1",
        ),
        ("the code of mdpr_fastreid", "0123", "the code of mdpr_fastreid is [0-9a-f]{12} in process 0"),
        ("MODEL.OWN", "1", r"MODEL\.OWN is missing in process 0, on first, and 1 in process 1"),
        ("the training images (DATASETS.NAMES)", "2 images of hash 0", "is 3 images of hash [0-9a-f]{12} in process 0"),
    ],
)
def test_the_first_thing_that_differs_is_named(other_process, tmp_path, name, value, words):
    other_process["of"] = lambda facts: {**facts, name: value}
    with pytest.raises(UsageError, match=words):
        check_agreement(small_config(tmp_path, "SOLVER.BASE_LR", 0.00035), ITEMS)


def test_what_a_machine_may_have_of_its_own_is_not_compared(other_process, tmp_path):
    seen = {}
    other_process["of"] = lambda facts: seen.update(facts) or facts
    check_agreement(small_config(tmp_path), ITEMS)
    assert "SOLVER.BASE_LR" in seen and not {"OUTPUT_DIR", "DATALOADER.NUM_WORKERS", "DATALOADER.CACHE"} & seen.keys()


def test_one_process_agrees_with_itself(tmp_path):
    check_agreement(small_config(tmp_path), ITEMS)
    check_shared_folder("no/such/folder", needed=True)


def test_a_key_that_only_the_first_process_has_differs():
    said = first_difference([("first", {"A": "1", "B": "2"}), ("other", {"A": "1"})])
    assert "B is 2 in process 0, on first, and missing in process 1, on other" in said
    assert first_difference([("first", {"A": "1"}), ("other", {"A": "1"})]) == ""


def test_items_are_compared_by_name_identity_camera_and_order_but_not_by_folder():
    same = items_hash(("elsewhere/" + path.split("/")[1], *rest) for path, *rest in ITEMS)
    others = [ITEMS[::-1], ITEMS[:2], [*ITEMS[:2], ("a/0003.jpg", 1, 2)], [*ITEMS[:2], ("a/0003.jpg", 2, 1)]]
    assert same == items_hash(ITEMS) != items_hash([*ITEMS[:2], ("a/0004.jpg", 1, 1)])
    assert len({items_hash(items) for items in [ITEMS, *others]}) == 5


def test_code_is_compared_by_content_and_name(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    first = code_hash(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    assert code_hash(tmp_path) == first
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    renamed = code_hash(tmp_path)
    (tmp_path / "b.py").write_text("x = 2\n")
    assert len({first, renamed, code_hash(tmp_path)}) == 3


@pytest.mark.parametrize("needed", [True, False])
def test_a_folder_that_machines_do_not_share_is_found(other_process, tmp_path, monkeypatch, needed):
    other_process["of"] = lambda seen: False
    words = f"OUTPUT_DIR {tmp_path} is not the same folder on first and on other: checkpoints are written on first"
    with logged_by_fastreid() as log:
        if needed:
            with pytest.raises(UsageError, match=words):
                check_shared_folder(str(tmp_path), needed=True)
        else:
            check_shared_folder(str(tmp_path), needed=False)
    assert needed or any(words in message for message in log)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_shows_a_file_late_is_waited_for(tmp_path, monkeypatch):
    tries = []

    def sleep(seconds):
        tries.append(seconds)
        (tmp_path / "file").touch()

    monkeypatch.setattr(agreement.time, "sleep", sleep)
    assert agreement._appears(tmp_path / "file") and len(tries) == 1
    monkeypatch.setattr(agreement, "_SECONDS_TO_APPEAR", 0.0)
    assert not agreement._appears(tmp_path / "none")
