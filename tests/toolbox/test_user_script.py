"""The scripts that README and tutorial show run as they are, from any folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import torch

from mdpr_fastreid.cli import main
from mdpr_fastreid.modeling.losses import LOSS_REGISTRY

ROOT = Path(__file__).parents[2]
TINY = {
    "DATASETS.NAMES": ("SynthReIDTiny",),
    "DATASETS.TESTS": ("SynthReIDTiny",),
    "DATALOADER.NUM_WORKERS": 0,
    "DATALOADER.NUM_INSTANCE": 4,
    "INPUT.SIZE_TRAIN": [64, 32],
    "INPUT.SIZE_TEST": [64, 32],
    "INPUT.RPT.ENABLED": False,
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.DEPTH": "18x",
    "MODEL.BACKBONE.PRETRAIN": False,
    "MODEL.MDPR.EMBEDDING_DIM": 32,
    "SOLVER.MAX_EPOCH": 1,
    "SOLVER.WARMUP_ITERS": 0,
    "SOLVER.IMS_PER_BATCH": 32,
    "SOLVER.BASE_LR": 1e-5,
    "TEST.EVAL_PERIOD": 1,
    "TEST.EVAL_UNTRAINED": False,
    "OUTPUT_DIR": "logs",
}


def test_the_readmes_snippet_trains_mdpr_with_the_stock_trainer(tmp_path):
    snippet, _ = _python_blocks("README.md")
    assert "DefaultTrainer" in snippet
    _run(snippet, tmp_path)
    checkpoint = torch.load(tmp_path / "logs/model_final.pth", weights_only=True)
    assert checkpoint["epoch"] == 0
    assert all(value.isfinite().all() for value in checkpoint["model"].values() if value.is_floating_point())


def test_the_how_to_shows_the_readmes_snippet():
    assert _python_blocks("docs/how-to/existing-pipeline.md")[0] == _python_blocks("README.md")[0]


def test_the_tutorials_loss_trains(tmp_path):
    loss, script = _python_blocks("docs/tutorial/own-method.md")
    (tmp_path / "my_method.py").write_text(loss)
    log = _run(script, tmp_path)
    assert "loss_SupervisedContrastiveLoss" in log
    assert (tmp_path / "logs/model_final.pth").exists()


def test_the_tutorials_loss_is_its_formula(monkeypatch):
    monkeypatch.setattr(LOSS_REGISTRY, "_obj_map", dict(LOSS_REGISTRY._obj_map))
    scope = {"__name__": "my_method"}
    exec(_python_blocks("docs/tutorial/own-method.md")[0], scope)
    embedding = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 0, 1, 1, 1, 2])
    unit = embedding / embedding.norm(dim=1, keepdim=True)
    total = 0.0
    for i in range(6):
        others = [j for j in range(6) if j != i]
        positives = [j for j in others if targets[j] == targets[i]]
        shares = sum(torch.exp(unit[i] @ unit[j] / 0.1) for j in others)
        terms = [torch.log(torch.exp(unit[i] @ unit[j] / 0.1) / shares) for j in positives]
        total -= sum(terms) / max(len(terms), 1)
    loss = scope["SupervisedContrastiveLoss"](temperature=0.1)
    assert torch.allclose(loss(embedding, targets), total / 6, rtol=1e-5)


def test_the_tutorials_config_is_a_row_of_a_comparison(tmp_path, monkeypatch, capsys):
    page = (ROOT / "docs/tutorial/own-method.md").read_text()
    config = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1].replace("_BASE_: configs", f"_BASE_: {ROOT}/configs")
    (tmp_path / "contrastive.yml").write_text(config)
    loss = _python_blocks("docs/tutorial/own-method.md")[0].replace("SupervisedContrastiveLoss", "RowsLoss")
    (tmp_path / "rows_method.py").write_text(loss)
    (tmp_path / "contrastive.yml").write_text(config.replace("SupervisedContrastiveLoss", "RowsLoss"))
    monkeypatch.chdir(tmp_path)
    words = ["--shared", "MDPR/synthreid_r18.yml", "--methods", "mdpr,contrastive.yml", "--import", "rows_method"]
    assert main(["compare", *words, "--dry-run"]) == 0
    assert "contrastive" in capsys.readouterr().out


def _python_blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def _run(script: str, folder: Path) -> str:
    """Run a script in a folder, on a data set and a network for a test; returns what it printed."""
    settings = [word for pair in TINY.items() for word in pair]
    before, trainer, after = re.split(r"^(?=.*Trainer\(cfg\))(.*)", script, maxsplit=1, flags=re.MULTILINE)
    (folder / "script.py").write_text(f"{before}cfg.merge_from_list({settings!r})\n{trainer}{after}")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr
