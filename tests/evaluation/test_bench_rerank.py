"""`mdpr bench rerank` measures what it says, in small."""

import argparse
import json

import numpy as np
import pytest

from mdpr_fastreid.bench import rerank
from mdpr_fastreid.cli import bench
from mdpr_fastreid.errors import UsageError


def _run(*words):
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    return bench.run(parser.parse_args(["rerank", *map(str, words)]))


def test_a_measurement_comes_back_from_a_process_of_its_own(tmp_path):
    _run("--n", 200, "--dim", 16, "--max-stock", 100, "--output", tmp_path)
    (run,) = json.loads((tmp_path / "rerank.json").read_text())["runs"]
    (row,) = run["rows"]
    assert (row["implementation"], row["images"], row["queries"]) == (rerank.BLOCK, 200, 29)


def test_it_sets_ours_beside_stock_and_leaves_stock_out_where_it_is_told(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(rerank, "in_new_process", lambda measure, *arguments: measure(*arguments))
    assert _run("--n", 300, 400, "--dim", 16, "--max-stock", 300, "--output", tmp_path) == 0

    runs = json.loads((tmp_path / "rerank.json").read_text())["runs"]
    rows = [row for run in runs for row in run["rows"]]
    assert [(row["images"], row["implementation"]) for row in rows] == [
        (300, rerank.STOCK),
        (300, rerank.SAME),
        (300, rerank.BLOCK),
        (400, rerank.BLOCK),
    ]
    for row in rows:
        assert row["total_s"] == pytest.approx(row["search_s"] + row["rest_s"])
        assert 0 < row["search_s"] < row["total_s"]
        assert row["peak_gib"] > 0.01
    for row in rows[1:3]:
        assert row["largest_difference"] < 1e-5
        assert row["total_s_ratio"] == pytest.approx(rows[0]["total_s"] / row["total_s"])
    assert "largest_difference" not in rows[3]
    for run in runs:
        assert run["machine"]["torch"]
        assert run["date"]

    tables = (tmp_path / "rerank.md").read_text()
    assert capsys.readouterr().out.endswith(tables[tables.rindex("| images") :] + "\n")
    assert f"| 300 | 44 | 16 | {rerank.STOCK} | cpu |" in tables


def test_the_whole_evaluation_is_measured_with_its_metrics(tmp_path, monkeypatch):
    monkeypatch.setattr(rerank, "in_new_process", lambda measure, *arguments: measure(*arguments))
    assert _run("--n", 300, "--dim", 16, "--evaluation", "--output", tmp_path) == 0
    (run,) = json.loads((tmp_path / "rerank.json").read_text())["runs"]
    (row,) = run["rows"]
    assert row["implementation"] == rerank.EVALUATION
    assert 20 < row["metrics"]["mAP"] <= 100
    assert "TPR@FPR=1e-02" in row["metrics"]
    assert row["peak_gib"] >= row["grown_gib"]


def test_features_are_normalised_clusters_of_twenty_and_the_same_for_one_seed():
    features = rerank.clustered_features(1_000, 256, seed=1)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)
    similar = (features @ features.T > 0.35).sum(axis=1) - 1
    assert 10 < np.median(similar) < 40
    np.testing.assert_array_equal(features, rerank.clustered_features(1_000, 256, seed=1))


@pytest.mark.parametrize("words", [("--n", 0), ("--dim", 0), ("--repeats", 0), ("--k1", 0), ("--n", 1)])
def test_sizes_that_cannot_be_measured_are_a_usage_error(words):
    with pytest.raises(UsageError, match="--n needs 2 images or more"):
        _run(*words)


def test_a_file_that_is_no_file_of_runs_is_left_alone_and_named(tmp_path):
    (tmp_path / "rerank.json").write_text("[]")
    with pytest.raises(UsageError, match="rerank.json is not a file of runs: move it away"):
        _run("--n", 200, "--dim", 16, "--output", tmp_path)
    assert (tmp_path / "rerank.json").read_text() == "[]"
