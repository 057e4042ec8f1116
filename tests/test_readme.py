"""The README's lines about a trained model run as they stand there, on a small run and a folder of pictures."""

import re
from pathlib import Path

import numpy as np
from support.image_trees import write_images
from support.saved_runs import saved_run

ROOT = Path(__file__).parents[1]


def block_under(heading):
    page = (ROOT / "README.md").read_text()
    return re.search(r"```python\n(.*?)```", page[page.index(f"## {heading}\n") :], re.DOTALL)[1]


def test_a_trained_model_is_used_in_five_lines(tmp_path, monkeypatch):
    saved_run(tmp_path / "logs" / "mdpr" / "duke_r50")
    write_images(tmp_path / "crops", [f"{number:02d}.jpg" for number in range(30)])
    write_images(tmp_path, ["query.jpg"], seed=1)
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(block_under("Use a trained model"), found)
    assert found["gallery"].shape == (30, found["model"].dim) and found["gallery"].dtype == np.float32
    assert found["hits"].indices.shape == (1, 10)
    assert all(values.ndim == 2 for values in found["looks"].values())
