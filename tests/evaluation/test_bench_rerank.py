"""`mdpr bench rerank` measures what it says, in small."""

import argparse
import json
import sys

import numpy as np
import pytest

from mdpr_fastreid.bench import own_distance, rerank
from mdpr_fastreid.bench.clusters import Output, clustered_outputs, outputs_described
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


OWN_DISTANCE = """
import torch

def of_visible_parts(query, gallery):
    assert query["visibility"].dtype == torch.float32 and set(query["visibility"].unique().tolist()) <= {0, 1}
    shared = query["visibility"] @ gallery["visibility"].T
    distances = torch.zeros_like(shared)
    for part in range(3):
        both = query["visibility"][:, part, None] * gallery["visibility"][:, part]
        distances += both * torch.cdist(query["embeddings"][:, part], gallery["embeddings"][:, part])
    return torch.where(shared > 0, distances / shared.clamp_min(1), 3.0)

class Distances:
    def of_features(query, gallery):
        return torch.cdist(query, gallery)
"""


@pytest.fixture
def own_distances(tmp_path, monkeypatch):
    (tmp_path / "own_distances.py").write_text(OWN_DISTANCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["", *sys.path])


@pytest.mark.parametrize(
    ("name", "outputs", "width"),
    [
        ("own_distances:of_visible_parts", "embeddings=3x8,visibility=3:binary", "3x8 + 3"),
        ("own_distances:Distances.of_features", "features=16", "16"),
    ],
)
def test_a_distance_of_ones_own_is_measured_plain_and_re_ranked(
    own_distances, tmp_path, monkeypatch, name, outputs, width
):
    monkeypatch.setattr(rerank, "in_new_process", lambda measure, *arguments: measure(*arguments))
    words = ("--n", 300, "--evaluation", "--distance", name, "--outputs", outputs, "--output", tmp_path)
    assert _run(*words) == 0
    (run,) = json.loads((tmp_path / "rerank.json").read_text())["runs"]
    plain, reranked = run["rows"]
    assert plain["implementation"] == f"{name}, {own_distance.PLAIN}"
    assert reranked["implementation"] == f"{name}, {own_distance.RERANKED}"
    assert plain["metrics"]["mAP"] > 15 and plain["metrics"] != reranked["metrics"]
    for row in run["rows"]:
        assert (row["images"], row["queries"], row["width"]) == (300, 44, width)
        assert row["peak_gib"] >= row["grown_gib"] and row["total_s"] > 0


def test_it_is_measured_in_a_process_of_its_own(own_distances, tmp_path):
    words = ("--distance", "own_distances:Distances.of_features", "--outputs", "features=8")
    assert _run("--n", 100, "--evaluation", *words, "--output", tmp_path) == 0
    assert len(json.loads((tmp_path / "rerank.json").read_text())["runs"][0]["rows"]) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--evaluation", "--distance", "own_distances:none", "--outputs", "f=8"), "own_distances has no none"),
        (("--evaluation", "--distance", "no_such:f", "--outputs", "f=8"), "--distance no_such: No module named"),
        (("--evaluation", "--distance", "own_distances", "--outputs", "f=8"), "give MODULE:FUNCTION"),
        (("--evaluation", "--distance", "own_distances:f"), "needs --outputs and --evaluation"),
        (("--evaluation", "--outputs", "f=8"), "--outputs needs --distance"),
        (("--distance", "own_distances:f", "--outputs", "f=8"), "needs --outputs and --evaluation"),
    ],
)
def test_a_distance_that_is_not_there_is_one_line(own_distances, words, message):
    with pytest.raises(UsageError, match=message):
        _run(*words)


def test_outputs_are_described_by_names_shapes_and_kinds():
    described = outputs_described("embeddings=9x512, visibility=9:binary")
    assert described == (Output("embeddings", (9, 512)), Output("visibility", (9,), "binary"))
    for wrong in ("embeddings", "a=0", "a=3:round", "a=3,a=4", "a=3x", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="describes no outputs: give NAME=SHAPE"):
            outputs_described(wrong)


def test_synthetic_outputs_cluster_by_identity_in_every_embedding():
    identities = np.arange(200) % 10
    batches = list(clustered_outputs(outputs_described("e=3x64,v=3:binary"), identities, seed=1))
    assert [len(batch["e"]) for batch in batches] == [64, 64, 64, 8]
    embeddings = np.concatenate([batch["e"] for batch in batches])
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=2), 1, rtol=1e-5)
    same = identities[:, None] == identities
    for part in range(3):
        cosine = embeddings[:, part] @ embeddings[:, part].T
        assert cosine[same].mean() > 0.4 and abs(cosine[~same].mean()) < 0.1
    visible = np.concatenate([batch["v"] for batch in batches])
    assert 0.65 < visible.mean() < 0.85 and set(np.unique(visible)) == {0, 1}
    again = next(clustered_outputs(outputs_described("e=3x64,v=3:binary"), identities, seed=1))
    np.testing.assert_array_equal(again["e"], batches[0]["e"])
