"""The plugin's keys and configurations."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from fastreid.config import CfgNode, get_cfg

import mdpr_fastreid
from mdpr_fastreid import add_mdpr_config, config, config_file

ROOT = Path(__file__).parents[2]


def test_importing_the_plugin_gives_its_keys_to_every_new_config():
    assert get_cfg().MODEL.MDPR.EMBEDDING_DIM == 512


def test_a_config_from_before_gets_the_keys_and_keeps_its_own_values():
    cfg = CfgNode({"MODEL": CfgNode({"DEVICE": "cpu", "MDPR": CfgNode({"PARTS": 5})}), "SOLVER": CfgNode()})
    add_mdpr_config(cfg)
    add_mdpr_config(cfg)
    assert (cfg.MODEL.DEVICE, cfg.MODEL.MDPR.PARTS, cfg.MODEL.MDPR.ATTENTION.MAPS) == ("cpu", 5, 2)
    assert cfg.SOLVER.AMP.DTYPE == "float16"


def test_defaults_of_two_configs_are_not_shared():
    first, second = get_cfg(), get_cfg()
    first.MODEL.MDPR.ATTENTION.MAPS = 4
    assert second.MODEL.MDPR.ATTENTION.MAPS == 2


def test_every_key_has_a_comment_line_of_its_own():
    lines = Path(config.__file__).read_text().split("def _defaults()")[1].splitlines()
    for line, above in zip(lines[1:], lines, strict=False):
        if re.match(r"\s+C\.[\w.]+ = (?!CfgNode)", line):
            assert above.strip().startswith("# "), line


def test_a_configuration_is_found_by_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("MDPR/duke_r50.yml", "configs/MDPR/duke_r50.yml"):
        cfg = get_cfg()
        cfg.merge_from_file(config_file(name))
        assert cfg.MODEL.META_ARCHITECTURE == "MDPR"
    Path("MDPR").mkdir()
    Path("MDPR/duke_r50.yml").write_text("MODEL: {DEVICE: cpu}")
    assert config_file("MDPR/duke_r50.yml") == "MDPR/duke_r50.yml"
    assert config_file("none.yml") == "none.yml"


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
