"""FastReID imports after our package does, in any order, and nothing else notices."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mdpr_fastreid.compat import removed_imports

INSTALL_LINE = "pip install --no-deps fastreid==1.4.0"
ROOT = Path(__file__).parents[2]


def python(code: str, *paths: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*paths, ROOT]))}
    command = [sys.executable, "-W", "error::UserWarning:fastreid", "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_every_module_imports_and_no_lent_name_stays():
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


def test_a_missing_fastreid_is_one_import_error_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr(removed_imports.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="not installed") as caught:
        removed_imports.apply()
    assert INSTALL_LINE in str(caught.value).splitlines()[-1]


def test_a_fastreid_that_cannot_work_is_one_import_error_that_says_why(tmp_path):
    (tmp_path / "fastreid").mkdir()
    (tmp_path / "fastreid/__init__.py").write_text("__version__ = '0.0'\n")
    done = python("import mdpr_fastreid", tmp_path)
    assert done.returncode == 1
    error = done.stderr[done.stderr.rindex("ImportError:") :]
    assert str(tmp_path / "fastreid") in error
    assert "fastreid.config" in error
    assert INSTALL_LINE in error


def test_applying_twice_changes_nothing():
    import fastreid.data.build as data_build

    from mdpr_fastreid import compat

    before = data_build.build_reid_train_loader
    compat.apply()
    assert data_build.build_reid_train_loader is before


def test_a_checkout_that_imports_without_the_lent_names_imports_too(tmp_path, monkeypatch):
    import collections

    seen = []
    monkeypatch.setattr(collections, "Mapping", dict, raising=False)  # a Python that still has it
    monkeypatch.setattr(removed_imports.importlib, "import_module", lambda name: seen.append(collections.Mapping))
    removed_imports.apply()
    assert set(seen) == {dict}
    assert collections.Mapping is dict
