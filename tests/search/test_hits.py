"""The picture and the JSON of a search."""

import json
import math

import numpy as np
import pytest
from PIL import Image
from support.full_disk import fill_disk_at
from support.image_trees import write_images

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.pictures.canvas import CELL
from mdpr_fastreid.search import Hit, hits
from mdpr_fastreid.search.hits import Answer, draw_answers, left_out, need_places, write_answers


@pytest.fixture
def answers(tmp_path):
    colours = {"red.png": (200, 0, 0), "green.png": (0, 200, 0), "blue.png": (0, 0, 200)}
    for name, colour in colours.items():
        Image.new("RGB", (48, 96), colour).save(tmp_path / name)
    found = [
        Hit("green.png", 0.91, "2", 7.0, "p1", str(tmp_path / "green.png")),
        Hit("blue.png", 0.5, "", math.nan, "", str(tmp_path / "blue.png"), 0.25),
        Hit("gone\n.png", -0.1, "3", 1.0, "", str(tmp_path / "gone.png")),
    ]
    return [Answer(str(tmp_path / "red.png"), "1", found), Answer(str(tmp_path / "red.png"), "", [])]


def test_the_picture_has_a_row_for_each_query_and_its_hits_in_order(answers):
    pixels = np.asarray(draw_answers(answers))
    middle = hits._MARGIN + CELL[1] // 2
    left = hits._MARGIN + CELL[0] + hits._QUERY_GAP
    seen = [tuple(pixels[middle, x + CELL[0] // 2]) for x in (hits._MARGIN, left, left + CELL[0] + hits._GAP)]
    assert seen == [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    row = CELL[1] + hits._LABELS + hits._ROW_GAP
    assert tuple(pixels[middle + row, hits._MARGIN + CELL[0] // 2]) == (200, 0, 0)
    assert pixels.shape[0] == hits._MARGIN + 2 * row


def test_labels_differ_with_score_camera_and_name(answers):
    def strip(hit):
        pixels = np.asarray(draw_answers([Answer(answers[0].path, "1", [hit])]))
        return pixels[hits._MARGIN + CELL[1] :].tobytes()

    first = answers[0].hits[0]
    changes = [{}, {"score": 0.12}, {"camera": "9"}, {"name": "else.png"}, {"camera": ""}]
    assert len({strip(first._replace(**change)) for change in changes}) == len(changes)


def test_the_record_has_everything(answers, tmp_path):
    write_answers(tmp_path / "h.json", answers, {"gallery": "g"})
    assert not (tmp_path / "h.png").exists()
    record = json.loads((tmp_path / "h.json").read_text())
    assert record["gallery"] == "g"
    first, second = record["queries"]
    assert (first["query"], first["camera"], second["hits"]) == (answers[0].path, "1", [])
    assert first["hits"][0] == {"rank": 1, **answers[0].hits[0]._asdict()}
    assert first["hits"][1] == {"rank": 2, **answers[0].hits[1]._asdict(), "time": None}


def test_a_picture_has_so_many_queries_and_columns_and_the_record_all(answers, tmp_path, monkeypatch):
    monkeypatch.setattr(hits, "MOST_DRAWN", 3)
    monkeypatch.setattr(hits, "MOST_COLUMNS", 2)
    many = [answers[0]] * 5
    assert write_answers(tmp_path / "h.png", many, {}) == [tmp_path / "h.png", tmp_path / "h.json"]
    with Image.open(tmp_path / "h.png") as picture:
        assert picture.size == draw_answers(many[:3]).size
        assert picture.width == 2 * hits._MARGIN + 3 * CELL[0] + hits._QUERY_GAP + hits._GAP
    queries = json.loads((tmp_path / "h.json").read_text())["queries"]
    assert [len(query["hits"]) for query in queries] == [3] * 5
    assert left_out(many) == "the first 3 of 5 queries and the first 2 of up to 3 hits"
    assert left_out([answers[1]]) == ""


@pytest.mark.parametrize("name", ["h.gif", "h", "h.txt"])
def test_other_files_are_refused(tmp_path, name):
    with pytest.raises(UsageError, match=r"name a \.png"):
        need_places(tmp_path / name, force=True)


def test_nothing_is_replaced_without_force(tmp_path):
    write_images(tmp_path, ["h.png"])
    for name in ("h.png", "h.json"):
        (tmp_path / "h.json").touch()
        with pytest.raises(UsageError, match="exists already; --force"):
            need_places(tmp_path / name, force=False)
        need_places(tmp_path / name, force=True)


def test_a_full_disk_is_one_line_and_leaves_what_was_there(answers, tmp_path):
    write_answers(tmp_path / "h.png", answers, {})
    before = (tmp_path / "h.png").read_bytes()
    fill_disk_at(tmp_path / "h.png")
    with pytest.raises(UsageError, match=r"h\.png cannot be written"):
        write_answers(tmp_path / "h.png", answers[:1], {})
    assert (tmp_path / "h.png").read_bytes() == before
