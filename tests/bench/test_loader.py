"""`mdpr bench loader` measures stock's pipeline and ours, and shows that they compute the same."""

import inspect
import json
import os

import fastreid
import pytest
import torch
from fastreid.data import common
from fastreid.data.common import CommDataset
from fastreid.data.transforms.transforms import RandomPatch
from small_runs import small_config
from support.image_trees import pictures_of_all_sizes

from mdpr_fastreid.bench import loader, stock_loader
from mdpr_fastreid.cli import main

_SMALL = ["--size", "64x32", "--files", "48x32", "--batch", "8", "--images", "16", "--repeats", "1"]


def test_the_command_writes_every_setting_and_finds_the_same_images(tmp_path, capsys):
    assert main(["bench", "loader", *_SMALL, "--workers", "0", "1", "--output", str(tmp_path)]) == 0
    (run,) = json.loads((tmp_path / "loader.json").read_text())["runs"]
    rows = {(row["workers"], row["setting"]): row for row in run["rows"]}
    assert rows.keys() == {(workers, setting) for workers in (0, 1) for setting in loader.SETTINGS}
    assert all(row["same_images"] for row in rows.values())
    ours = rows[1, "ours"]
    assert ours["images_per_second"]["median"] == pytest.approx(16 / ours["seconds"][0])
    assert ours["core_milliseconds"] == pytest.approx(1e3 / ours["a_core"]["images_per_second"]["median"])
    assert rows[0, "reference"]["a_core"]["ratio"] == {"min": 1, "median": 1, "max": 1}
    assert capsys.readouterr().out.strip() in (tmp_path / "loader.md").read_text()


def test_components_add_up(tmp_path):
    assert main(["bench", "loader", *_SMALL, "--components", "--output", str(tmp_path)]) == 0
    (run,) = json.loads((tmp_path / "loader_components.json").read_text())["runs"]
    rows = {row["component"]: row for row in run["rows"]}
    total = rows.pop("sum")
    assert {"read the file", "decode", "resize", "random erasing", "random patch", "collate"} <= rows.keys()
    assert rows["read the file"]["cached"] == rows["decode"]["cached"] == rows["read the resized"]["ours"] == 0
    for setting in loader.SETTINGS:
        assert sum(row[setting] for row in rows.values()) == pytest.approx(total[setting])


def test_the_reference_is_fastreids_own_code(tmp_path):
    items = pictures_of_all_sizes(tmp_path, 8)
    options = ["INPUT.REA.ENABLED", True, "INPUT.RPT.ENABLED", True, "INPUT.PADDING.ENABLED", True]
    reference = stock_loader.stock_loader(small_config(tmp_path, "SOLVER.IMS_PER_BATCH", 8, *options), items)
    steps = reference.dataset.transform.transforms
    parts = [CommDataset.__getitem__, common.read_image, stock_loader._TO_TENSOR, reference.collate_fn]
    parts += [RandomPatch.__call__]
    assert type(reference.dataset) is CommDataset
    assert all(inspect.getsourcefile(part).startswith(os.path.dirname(fastreid.__file__)) for part in parts)
    kinds = [type(step).__module__.partition(".")[0] for step in steps if type(step).__name__ != "StockToTensor"]
    assert set(kinds) == {"torchvision", "fastreid"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--images", "10", "--batch", "8"], "--images 10"),
        (["--workers", "-1"], "--workers"),
        (["--device", "cuda"], "--device cuda"),
    ],
)
def test_what_cannot_be_run_is_one_line(words, message, capsys):
    if "cuda" in words and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert main(["bench", "loader", *words]) != 0
    assert message in capsys.readouterr().err
