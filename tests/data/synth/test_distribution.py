"""The renderer without the project around it: copied under another name, and as a wheel of its own."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mdpr_fastreid.data.synth as synth
from mdpr_fastreid.data.synth import read_manifest

FOLDER = Path(synth.__file__).parent
README = (FOLDER / "README.md").read_text()

# What a program that has only NumPy, Pillow and filelock cannot import
RENDER = """
import sys

class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "fastreid", "yacs", "sklearn", "cv2", "tqdm", "mdpr_fastreid"):
            raise ModuleNotFoundError(f"{name} is not to be imported")

sys.meta_path.insert(0, Refused())
sys.path.insert(0, sys.argv[1])
import synthreid
from dataclasses import replace

preset = replace(synthreid.PRESETS["tiny"], name="micro", train_identities=6, test_identities=6, train_images=36,
                 query_images=12, gallery_images=40, distractor_images=4, junk_images=3, train_tracklets=4,
                 test_tracklets=4, frames=3)
if __name__ == "__main__":
    print(synthreid.__file__)
    synthreid.ensure(sys.argv[2], preset, 0, (64, 32), workers=int(sys.argv[3]))
"""


def _render(place, root, tmp_path, workers=1):
    program = tmp_path / "render.py"
    program.write_text(RENDER)
    words = [sys.executable, str(program), str(place), str(root), str(workers)]
    ended = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_copy_under_another_name_renders_the_same_bytes_without_torch_or_the_plugin(micro_set, tmp_path, workers):
    shutil.copytree(FOLDER, tmp_path / "copy" / "synthreid", ignore=shutil.ignore_patterns("__pycache__"))
    assert _render(tmp_path / "copy", tmp_path / "sets", tmp_path, workers).startswith(str(tmp_path))
    copy = tmp_path / "sets" / "synthreid-micro"
    assert read_manifest(copy) == read_manifest(micro_set)
    files = {path.relative_to(micro_set): path.read_bytes() for path in micro_set.rglob("*") if path.is_file()}
    assert {path.relative_to(copy): path.read_bytes() for path in copy.rglob("*") if path.is_file()} == files


def test_the_readmes_pyproject_makes_a_wheel_that_renders(micro_set, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(FOLDER, project / "synthreid", ignore=shutil.ignore_patterns("__pycache__"))
    (project / "pyproject.toml").write_text(re.search(r"```toml\n(.*?)```", README, re.DOTALL)[1])
    build = "from setuptools import build_meta; print(build_meta.build_wheel('dist'))"
    built = subprocess.run([sys.executable, "-c", build], cwd=project, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    wheel = project / "dist" / built.stdout.strip().splitlines()[-1]
    assert wheel.name == "synthreid-1.0-py3-none-any.whl"
    assert _render(wheel, tmp_path / "sets", tmp_path).startswith(str(wheel))
    assert read_manifest(tmp_path / "sets" / "synthreid-micro") == read_manifest(micro_set)


def test_the_renderer_imports_itself_by_relative_names_and_numpy_pillow_and_filelock():
    allowed = {"numpy", "PIL", "filelock", *sys.stdlib_module_names}
    for path in FOLDER.glob("*.py"):
        tree = ast.parse(path.read_text())
        absolute = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
        relative = {node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) if node.level}
        absolute |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) if not node.level}
        found = {name.partition(".")[0] for name in absolute} - allowed
        assert found <= ({"sklearn"} if path.name == "judge.py" else set()), path
        assert all(node.level == 1 for node in relative), path


def test_the_readme_names_every_public_function():
    assert [name for name in synth.__all__ if f"`{name}" not in README] == []


def test_the_readmes_example_runs(tmp_path):
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    example = example.replace("from synthreid import", "from mdpr_fastreid.data.synth import").replace("demo", "tiny")
    example = example.replace('"datasets"', repr(str(tmp_path))).replace("workers=8", "workers=1")
    exec(example.replace("(128, 64)", "(32, 16)").replace("train_images=4_000", "train_images=800"), {})
    assert (tmp_path / "synthreid-tiny" / "manifest.json").is_file()
    assert len(list((tmp_path / "preview").glob("*.jpg"))) == 3
