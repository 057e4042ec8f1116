"""`mdpr bench embed` measures a folder of files against the network alone."""

import json

import pytest

from mdpr_fastreid.bench import embed
from mdpr_fastreid.cli import main

_SMALL = ["--backbone", "r18", "--size", "64x32", "--files", "48x32", "--batch", "4", "--images", "9", "--repeats", "2"]


def test_the_command_writes_a_row_for_each_method(tmp_path, capsys):
    assert main(["bench", "embed", *_SMALL, "--methods", "mdpr", "sbs", "--output", str(tmp_path)]) == 0
    (run,) = json.loads((tmp_path / "embed.json").read_text())["runs"]
    assert [row["method"] for row in run["rows"]] == ["mdpr", "sbs"]
    for row in run["rows"]:
        assert row["images"] == 8  # whole batches only, as the reference has them
        assert row["images_per_second"]["median"] > 0 and row["network_alone"]["median"] > 0
        assert len(row["seconds"]) == 2
    assert capsys.readouterr().out.strip() in (tmp_path / "embed.md").read_text()


@pytest.mark.parametrize(
    ("samples", "growth"),
    [
        ([], 0.0),
        ([(0.1, 9.0), (0.5, 2.0), (0.6, 3.0), (0.9, 3.5)], 0.5),
        ([(0.1, 1.0), (0.4, 4.0), (0.7, 2.0), (0.99, 3.0)], -1.0),
    ],
)
def test_growth_is_that_of_the_last_third(samples, growth):
    assert embed._growth(samples) == growth


def test_memory_is_sampled_while_the_body_runs(monkeypatch):
    import time

    monkeypatch.setattr(embed, "_SECONDS_BETWEEN_SAMPLES", 0.01)
    samples = [(0.5, 1e9)]
    with embed._memory_sampled(samples):
        time.sleep(0.2)
    assert samples and all(0 < share <= 1 and 0 < memory < 1000 for share, memory in samples)


@pytest.mark.parametrize("words", [("--images", "3"), ("--workers", "-1"), ("--methods", "mdqr"), ("--components",)])
def test_what_cannot_be_measured_is_one_line(tmp_path, capsys, words):
    assert main(["bench", "embed", *_SMALL, *words, "--output", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
