"""The configurations and the command in an installed wheel."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import mdpr_fastreid

ROOT = Path(__file__).parents[2]


def test_the_wheel_carries_every_configuration_and_the_command(tmp_path):
    # Built from a copy: a build leaves folders beside its sources.
    source = tmp_path / "source"
    needed = {"mdpr_fastreid", "configs", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"}
    shutil.copytree(
        ROOT, source, symlinks=True, ignore=lambda folder, names: set(names) - needed if Path(folder) == ROOT else ()
    )
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", tmp_path]
    subprocess.run([*build, source], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        entry_points = archive.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    configs = {str(path.relative_to(ROOT)) for path in (ROOT / "configs").rglob("*.yml")}
    assert {f"mdpr_fastreid/{path}" for path in configs} <= set(names)
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "mdpr_fastreid").rglob("*.py")}
    assert modules <= set(names)
    assert "mdpr = mdpr_fastreid.cli:main" in entry_points
    assert wheel.name.startswith(f"mdpr_fastreid-{mdpr_fastreid.__version__}-")
