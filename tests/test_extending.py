"""Every example of docs/extending.md runs as it stands, each by itself after the lines that all share."""

import os
import re
from pathlib import Path

import pytest
from fastreid.config import defaults
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY

from mdpr_fastreid.config import adding
from mdpr_fastreid.data import FIELD_REGISTRY, SAMPLER_REGISTRY
from mdpr_fastreid.data.masks import PART_GROUPS
from mdpr_fastreid.evaluation import DISTANCE_REGISTRY
from mdpr_fastreid.modeling.heads import FUSION_REGISTRY
from mdpr_fastreid.modeling.losses import DISTILLATION_REGISTRY, LOSS_REGISTRY

PAGE = (Path(__file__).parents[1] / "docs/extending.md").read_text()
SECTIONS = re.split(r"^## ", PAGE, flags=re.MULTILINE)
SHARED = "".join(re.findall(r"```python\n(.*?)```", SECTIONS[0], flags=re.DOTALL))
EXAMPLES = [
    pytest.param(code, id=f"{section.splitlines()[0]} {number}")
    for section in SECTIONS[1:]
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL))
]
REGISTRIES = (
    *(DATASET_REGISTRY, REID_HEADS_REGISTRY, META_ARCH_REGISTRY),
    *(FIELD_REGISTRY, PART_GROUPS, SAMPLER_REGISTRY, DISTANCE_REGISTRY),
    *(LOSS_REGISTRY, DISTILLATION_REGISTRY, FUSION_REGISTRY),
)


@pytest.fixture
def as_before(monkeypatch):
    """What an example registers is gone after it."""
    for registry in REGISTRIES:
        monkeypatch.setattr(registry, "_obj_map", dict(registry._obj_map))
    monkeypatch.setattr(adding, "_project_keys", dict(adding._project_keys))
    monkeypatch.setattr(defaults, "_C", defaults._C.clone())


@pytest.mark.parametrize("code", EXAMPLES)
def test_an_example_runs_as_it_stands(code, tmp_path, monkeypatch, as_before):
    monkeypatch.setenv("FASTREID_DATASETS", os.path.abspath(os.environ["FASTREID_DATASETS"]))
    monkeypatch.chdir(tmp_path)
    assert "assert " in code
    exec(compile(SHARED + code, "docs/extending.md", "exec"), {"__name__": "example"})


def test_the_page_has_an_example_for_everything_that_can_be_added():
    assert len(EXAMPLES) >= 9
    linked = re.findall(r"\| \[[^\]]+\]\(#([\w-]+)\)", SECTIONS[0])
    titles = [section.splitlines()[0].lower().replace(" ", "-") for section in SECTIONS[1:]]
    assert linked == titles
