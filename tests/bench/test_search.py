"""`mdpr bench search` measures what it says."""

import json
import pickle

import pytest

from mdpr_fastreid.bench import search
from mdpr_fastreid.cli import main

_SMALL = ["--n", "3000", "--dim", "32", "--queries", "20", "--append", "50", "--threads", "1"]


@pytest.fixture
def here(monkeypatch):
    """In this process, with what a new one would get; a new one takes seconds to start."""
    monkeypatch.setattr(search, "in_new_process", lambda measure, *given: measure(*pickle.loads(pickle.dumps(given))))
    monkeypatch.setattr(search, "_set_threads", lambda args: None)


@pytest.mark.usefixtures("here")
def test_the_command_measures_each_kind_against_exact_search(tmp_path, capsys):
    words = [*_SMALL, "--kinds", "hnsw", "--output", str(tmp_path / "o"), "--folder", str(tmp_path)]
    assert main(["bench", "search", *words]) == 0
    (run,) = json.loads((tmp_path / "o/search.json").read_text())["runs"]
    exact, approximate = run["rows"]
    assert (exact["kind"], approximate["kind"]) == ("exact", "hnsw")
    assert exact["recall_1"] == exact["recall_10"] == 1
    assert 0.9 <= approximate["recall_10"] <= 1 and approximate["effort"] >= 16
    for row in (exact, approximate):
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        assert row["stated_gib"] > 0
    assert approximate["appended"] == 50 and approximate["append_s"] > 0
    assert approximate["build_s"] > 0
    assert capsys.readouterr().out.strip().endswith((tmp_path / "o/search.md").read_text().strip().splitlines()[-1])
    assert [path.name for path in tmp_path.iterdir()] == ["o"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--n", "0"], "--n, --dim"),
        (["--append", "-1"], "--append and --seed"),
        (["--kinds", "best"], "--kinds best: give exact, hnsw, ivfpq"),
        (["--n", "1000000000000"], "are needed: give --folder, or less --n"),
    ],
)
def test_what_cannot_be_measured_is_one_line(tmp_path, capsys, words, said):
    assert main(["bench", "search", *words, "--output", str(tmp_path / "o"), "--folder", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_recall_is_the_share_of_exact_names():
    found = search._recall([["a", "b"], ["c", "d"]], [["a", "c"], ["d", "c"]])
    assert found == {"recall_1": 0.5, "recall_10": pytest.approx(0.75)}
