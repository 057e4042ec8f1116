"""FastReID imports after our package does, in any order, and nothing else notices."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mdpr_fastreid.compat import imports

INSTALL_LINE = "pip install --no-deps fastreid==1.4.0"
ROOT = Path(__file__).parents[2]


def python(code: str, *paths: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*paths, ROOT]))}
    command = [sys.executable, "-W", "error::UserWarning:fastreid", "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_every_module_imports_and_nothing_else_finds_the_old_names():
    done = python(
        """
import collections, contextlib, importlib, pkgutil, sys
import fastreid.config
with contextlib.suppress(ImportError):
    import fastreid.engine                      # fails on a current stack, and leaves half of itself behind
import mdpr_fastreid
from fastreid.engine import DefaultTrainer
names = [module.name for module in pkgutil.walk_packages(fastreid.__path__, "fastreid.")]
for name in names:
    if "rank_cylib." not in name:
        importlib.import_module(name)
assert len(names) > 80
assert not hasattr(collections, "Mapping")
assert "torch._six" not in sys.modules
assert fastreid.config.get_cfg().SEED == -1
"""
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "Warning" not in done.stderr


def test_scikit_learn_is_imported_when_something_of_it_is_used():
    done = python(
        """
import sys
import mdpr_fastreid.cli, mdpr_fastreid.reid
from fastreid.evaluation import reid_evaluation
assert "sklearn" not in sys.modules
curve = reid_evaluation.metrics.roc_curve
import sklearn.metrics
from fastreid.utils import visualizer
assert curve is visualizer.metrics.roc_curve is sklearn.metrics.roc_curve
"""
    )
    assert done.returncode == 0, done.stderr


def test_a_missing_fastreid_is_one_import_error_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr(imports.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="not installed") as caught:
        imports.apply()
    assert INSTALL_LINE in str(caught.value).splitlines()[-1]


def test_a_fastreid_that_cannot_work_is_one_import_error_that_says_why(tmp_path):
    (tmp_path / "fastreid").mkdir()
    (tmp_path / "fastreid/__init__.py").write_text("__version__ = '0.0'\n")
    done = python("import mdpr_fastreid", tmp_path)
    assert done.returncode == 1
    error = done.stderr[done.stderr.rindex("ImportError:") :]
    assert str(tmp_path / "fastreid") in error
    assert "fastreid.engine" in error
    assert INSTALL_LINE in error


def test_a_module_that_needs_no_fix_is_read_as_it_is(tmp_path):
    """A checkout of the repository has no ``torch._six``; a later FastReID may have neither."""
    package = tmp_path / "fastreid/data"
    package.mkdir(parents=True)
    (tmp_path / "fastreid/__init__.py").write_text("")
    (package / "__init__.py").write_text("")
    (package / "build.py").write_text("from collections.abc import Mapping\nstring_classes = 'its own'\n")
    code = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("imports", sys.argv[1])
imports = importlib.util.module_from_spec(spec)
spec.loader.exec_module(imports)
sys.meta_path.insert(0, imports._Finder())
import fastreid.data.build as build
print(build.string_classes, build.Mapping.__module__)
"""
    source = ROOT / "mdpr_fastreid/compat/imports.py"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code, source], env=environment, capture_output=True, text=True, timeout=300, check=True
    )
    assert done.stdout.split() == ["its", "own", "collections.abc"]


def test_a_fixed_module_keeps_its_lines_and_leaves_no_compiled_file_for_others(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "build.py"
    path.write_text("import torch\nfrom torch._six import string_classes\nraised = 1 / 0\n")
    module = importlib.util.module_from_spec(
        importlib.util.spec_from_loader("fastreid.data.build", imports._Loader("fastreid.data.build", str(path)))
    )
    with pytest.raises(ZeroDivisionError) as caught:
        module.__loader__.exec_module(module)
    assert caught.traceback[-1].lineno == 2  # counted from 0
    assert module.string_classes == (str, bytes)
    assert list(tmp_path.iterdir()) == [path]


def test_spawned_workers_of_a_parent_without_a_script_load_batches(tmp_path):
    code = """
import mdpr_fastreid, os
import numpy as np
from PIL import Image
from fastreid.data import CommDataset, build_reid_train_loader
from fastreid.data.samplers import TrainingSampler
from fastreid.data.transforms import ToTensor
path = os.path.join(os.environ["FOLDER"], "0.png")
Image.fromarray(np.full((4, 2, 3), 7, np.uint8)).save(path)
dataset = CommDataset([(path, pid, 0) for pid in range(4)], ToTensor())
loader = build_reid_train_loader(dataset, sampler=TrainingSampler(4), total_batch_size=4, num_workers=1)
loader.multiprocessing_context = "spawn"
batches = iter(loader)
print(next(batches)["images"].mean().item(), sorted(next(batches)["targets"].tolist()))
batches.close()
"""
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "FOLDER": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout.splitlines()[-1:] == ["7.0 [0, 1, 2, 3]"], done.stderr
