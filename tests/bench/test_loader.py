"""`mdpr bench loader` measures stock's pipeline and ours, and shows that they compute the same."""

import json

import pytest
import torch
from fastreid.data import build as data_build
from fastreid.data import common, data_utils
from fastreid.data.transforms import transforms

from mdpr_fastreid.bench import loader
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
    assert rows["resize"]["cached"] == rows["decode"]["cached"] == rows["read the resized"]["ours"] == 0
    for setting in loader.SETTINGS:
        assert sum(row[setting] for row in rows.values()) == pytest.approx(total[setting])


def test_reference_is_stocks_own_code_and_everything_is_ours_again_after_it():
    parts = {
        "read_image": (common, data_utils),
        "to_tensor": (transforms,),
        "fast_batch_collator": (data_build,),
    }
    ours = {name: getattr(modules[0], name) for name, modules in parts.items()}
    with loader.in_setting("reference"):
        within = {name: getattr(modules[0], name) for name, modules in parts.items()}
        assert transforms.RandomPatch.__call__.__module__ == "fastreid.data.transforms.transforms"
        assert not hasattr(transforms.RandomPatch.__call__, "__wrapped__")
    assert all(found.__module__.startswith("fastreid.") for found in within.values())
    assert all(found.__module__.startswith("mdpr_fastreid.") for found in ours.values())
    assert all(getattr(modules[0], name) is ours[name] for name, modules in parts.items())


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
