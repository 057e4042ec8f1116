"""The queries that are shown are the worst and the best, with all their positives at the ranks of the metrics."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.image_trees import write_images
from support.ranked_features import QUERIES, config, features_with_labels

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.evaluation import Evaluator
from mdpr_fastreid.pictures.canvas import CELL
from mdpr_fastreid.pictures.rank_list import Ranked, RankList, Shown, draw_rank_list
from mdpr_fastreid.pictures.rank_pages import INDEX, RECORD, choose, need_folder, write_pages
from mdpr_fastreid.pictures.trained import Evaluated

ABOUT = {
    "data_set": "<Demo>",
    "config": "c.yml",
    "weights": "w.pth",
    "weights_sha256": "0" * 64,
    "metrics": {"mAP": 1.0},
}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    features = features_with_labels()
    paths = write_images(tmp_path_factory.mktemp("images"), [f"{number:03d}.png" for number in range(100)])
    evaluator = Evaluator(config(), QUERIES)
    evaluator.process({"targets": features["pids"], "camids": features["camids"]}, features["feats"])
    return Evaluated("Demo", evaluator, evaluator.collect(), [str(path) for path in paths])


@pytest.fixture(scope="module")
def measured(found):
    return found.evaluator.measure(found.collected)


def test_the_worst_are_those_of_lowest_average_precision_and_none_is_shown_twice(found, measured):
    chosen = choose(found, measured, worst=3, best=50, length=5)
    precision = sorted(measured.ranking.average_precision)
    values = {kind: [one.ranked.average_precision for one in chosen if one.kind == kind] for kind in ("worst", "best")}
    assert values["worst"] == pytest.approx(precision[:3])
    assert values["best"] == pytest.approx(precision[3:][::-1])
    assert len({one.ranked.query.path for one in chosen}) == len(chosen) == len(precision)


def test_ranks_are_those_that_average_precision_is_made_of(found, measured):
    for one in choose(found, measured, worst=100, best=0, length=5):
        ranks = np.array([positive.rank for positive in one.ranked.positives])
        assert np.mean(np.arange(1, len(ranks) + 1) / ranks) == pytest.approx(one.ranked.average_precision)
        assert [ranked.rank for ranked in one.ranked.top] == [1, 2, 3, 4, 5]
        assert {r.rank for r in one.ranked.top if r.correct} | {r.rank for r in one.ranked.missed} == set(ranks)


def test_junk_is_left_out_and_identities_are_those_of_the_files(found, measured):
    collected = found.collected
    for one in choose(found, measured, worst=100, best=0, length=86):
        query = one.ranked.query
        assert one.ranked.counted == len(one.ranked.top) <= 86
        for ranked in one.ranked.top:
            index = found.paths.index(str(ranked.image.path))
            assert (ranked.image.identity, ranked.image.camera) == (
                collected.identities[index],
                collected.cameras[index],
            )
            assert ranked.correct == (ranked.image.identity == query.identity)
            assert not (ranked.correct and ranked.image.camera == query.camera)


def test_the_folder_has_a_picture_of_each_query_a_record_and_a_page(found, measured, tmp_path):
    chosen = choose(found, measured, worst=2, best=1, length=4)
    write_pages(tmp_path, chosen, ABOUT)
    record = json.loads((tmp_path / RECORD).read_text())
    page = (tmp_path / INDEX).read_text()
    assert [one["picture"] for one in record["queries"]] == [
        f"queries/{n}.jpg" for n in ("worst-001", "worst-002", "best-001")
    ]
    for one in record["queries"]:
        assert Image.open(tmp_path / one["picture"]).format == "JPEG"
        assert page.count(one["picture"]) == 2
        assert len(one["ranks"]) == 4 and all(Path(rank["path"]).is_file() for rank in one["ranks"])
        assert all(positive["correct"] for positive in one["positives"])
    assert "&lt;Demo&gt;" in page and "<Demo>" not in page


def test_a_folder_of_fewer_queries_replaces_one_of_more(found, measured, tmp_path):
    write_pages(tmp_path, choose(found, measured, worst=3, best=0, length=4), ABOUT)
    write_pages(tmp_path, choose(found, measured, worst=1, best=0, length=4), ABOUT)
    assert sorted(path.name for path in (tmp_path / "queries").iterdir()) == ["worst-001.jpg"]


def test_nothing_is_replaced_unasked_and_other_files_never(tmp_path):
    need_folder(tmp_path / "new", force=False)
    ours, other = tmp_path / "ours", tmp_path / "other"
    for folder, name in ((ours, INDEX), (other, "photo.jpg")):
        folder.mkdir()
        (folder / name).touch()
    with pytest.raises(UsageError, match="ours exists already; --force replaces it"):
        need_folder(ours, force=False)
    need_folder(ours, force=True)
    with pytest.raises(UsageError, match="other holds other files: name a new folder"):
        need_folder(other, force=True)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file"):
        need_folder(tmp_path / "file", force=True)


def list_with(top, positives):
    query = Shown(Path("query.png"), 3, 1)
    image = Shown(Path("gone.png"), 3, 2)
    ranked = [Ranked(rank, image, rank / 10, rank in positives) for rank in range(1, top + 1)]
    return RankList(query, 0.5, ranked, [Ranked(rank, image, rank / 10, True) for rank in positives], 400)


def test_what_was_missed_has_a_row_of_its_own():
    complete, missed = list_with(5, [1, 3]), list_with(5, [1, 37, 390])
    assert [one.rank for one in missed.missed] == [37, 390] and not complete.missed
    assert "2 of 2 positives in the first 5 of 400" in complete.title
    assert "1 of 3 positives in the first 5 of 400" in missed.title
    assert draw_rank_list(missed).height > draw_rank_list(complete).height + CELL[1]


def test_many_missed_positives_take_no_more_room_than_a_row():
    few, many = (draw_rank_list(list_with(5, range(10, 10 + count))) for count in (3, 200))
    assert few.size == many.size
