"""`mdpr bench ranking` measures what it says, in small."""

import argparse
import json

import numpy as np
import pytest

from mdpr_fastreid.bench import ranking
from mdpr_fastreid.cli import bench
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.evaluation import cosine_distances, rank_metrics


def _run(*words):
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    return bench.run(parser.parse_args(["ranking", *map(str, words)]))


def test_one_process_and_two_measure_the_same_accuracy(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ranking, "in_new_process", lambda measure, *arguments: measure(*arguments))
    words = ("--queries", 30, "--gallery", 600, "--dim", 8, "--processes", 1, 2, "--output", tmp_path)
    assert _run(*words) == 0
    (run,) = json.loads((tmp_path / "ranking.json").read_text())["runs"]
    alone, shared = run["rows"]
    assert alone["metrics"] == pytest.approx(shared["metrics"])
    assert (len(alone["peak_gib"]), len(shared["peak_gib"])) == (1, 2)
    assert all(row["seconds"] > 0 and min(row["peak_gib"]) > 0.01 for row in run["rows"])
    assert "| 30 | 600 | 2 | " in capsys.readouterr().out

    args = argparse.Namespace(queries=30, gallery=600, dim=8, seed=0)
    identities, features = ranking._features(np.arange(630), args)
    cameras = np.arange(630) % 15
    distances = cosine_distances(features[:30].numpy(), features[30:].numpy())
    found = rank_metrics(distances, identities[:30].numpy(), identities[30:].numpy(), cameras[:30], cameras[30:])
    assert alone["metrics"]["mAP"] == pytest.approx(100 * found.average_precision.mean())


@pytest.mark.parametrize(
    ("words", "message"),
    [(("--processes", 0), "1 or more"), (("--gallery", 10**12), "these features take .* GiB, and this machine has")],
)
def test_what_cannot_be_measured_is_one_line(tmp_path, words, message):
    with pytest.raises(UsageError, match=message):
        _run(*words, "--output", tmp_path)
