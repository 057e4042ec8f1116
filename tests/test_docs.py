"""The pages are true: links, commands, keys and paths in them exist, and every page is in the site's navigation."""

import ast
import importlib
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from fastreid.config import CfgNode, get_cfg
from fastreid.engine import default_argument_parser

from mdpr_fastreid import cli, config_file

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", *DOCS, *sorted((ROOT / "projects").rglob("*.md"))]
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
# Files that may name a page
SOURCES = [path for folder in ("mdpr_fastreid", "tests", "configs", "projects") for path in (ROOT / folder).rglob("*")]
SOURCES = [ROOT / "train_net.py", ROOT / "Makefile", *(path for path in SOURCES if path.suffix in (".py", ".yml"))]

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@each_page
def test_every_link_leads_to_a_file_and_a_heading(page):
    broken = []
    for link in re.findall(r"\]\((?!https?://)([^)\s]+)\)", _without_blocks(page)):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(link)
    assert broken == []


@each_page
def test_every_command_parses(page):
    for command in _commands(page):
        words = shlex.split(command, comments=True)
        try:
            _parse(words)
        except SystemExit as end:
            pytest.fail(f"exit code {end.code}: {command}")


@each_page
def test_every_key_exists(page):
    cfg, text = get_cfg(), page.read_text()
    named = set(re.findall(r"(?<![\w./])[A-Z][A-Z0-9_]*(?:\.[A-Z][A-Z0-9_]*)+\b(?!\.[a-z])", text))
    # Keys of a project's own: those that the page registers, or the project's modules
    projects = ROOT / "projects"
    sources = (projects / page.relative_to(projects).parts[0]).rglob("*.py") if projects in page.parents else ()
    own = "".join([text, *(source.read_text() for source in sources)])
    assert sorted(key for key in named if not _has(cfg, key) and not re.search(_registers(key), own)) == []


def _registers(key):
    """What registers a key, or one of a section, with its whole name or with the last of its sections."""
    _, _, last = key.removeprefix("MODEL.").partition(".")
    return rf'[kK]ey\(\s*"(?:{re.escape(key)}|{re.escape(last)})[."]'


@each_page
def test_every_path_into_the_project_exists(page):
    paths = re.findall(r"`((?:mdpr_fastreid|tests|projects|docs|configs)/[^`\s*<]*)`", _without_blocks(page))
    assert [path for path in paths if not (ROOT / path.partition(":")[0]).exists()] == []


@each_page
def test_python_and_yaml_are_valid(page, tmp_path):
    for language, block in _blocks(page):
        if language == "python":
            assert ast.parse(block).body
        if language == "yaml":
            block = block.replace("_BASE_: configs/", f"_BASE_: {ROOT}/configs/")
            (tmp_path / "block.yml").write_text(block)
            get_cfg().merge_from_file(str(tmp_path / "block.yml"))


@each_page
def test_the_words_of_the_field(page):
    assert re.findall(r"(?i)\b(?:mend(?:s|ed|ing)?|at hand|(?:is|are|was|were) told)\b", page.read_text()) == []


def test_code_and_configs_name_pages_that_exist():
    named = {(path, page) for path in SOURCES for page in re.findall(r"\bdocs/[\w/-]+\.md\b", path.read_text())}
    assert [f"{path.relative_to(ROOT)}: {page}" for path, page in sorted(named) if not (ROOT / page).exists()] == []


def test_every_page_is_in_the_navigation_once():
    assert sorted(_navigated(SITE["nav"])) == sorted(str(page.relative_to(ROOT / "docs")) for page in DOCS)


def test_a_reader_of_the_readme_finds_every_how_to_in_one_click():
    linked = set(re.findall(r"\]\((docs/how-to/[^)#]+)", (ROOT / "README.md").read_text()))
    assert linked == {f"docs/how-to/{page.name}" for page in (ROOT / "docs/how-to").glob("*.md")}


def test_the_checks_find_what_is_wrong(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A b: C\n```\nmdpr data X \\\n  --json Y  # why\npip install x\n```\n[x](#a-b-c)\n```python\n1 +\n```"
    )
    assert list(_commands(page)) == ["mdpr data X    --json Y  # why"]
    assert _anchors(page) == {"a-b-c"}
    assert dict(_blocks(page))["python"] == "1 +\n"
    assert not _has(get_cfg(), "SOLVER.MAX_EPOCHS")
    for words in (["mdpr", "data"], ["train_net.py", "--config-file", "MDPR/none.yml"], ["train_net.py", "SEEDS", "1"]):
        with pytest.raises((SystemExit, FileNotFoundError, AssertionError)):
            _parse(words)


def _parse(words: list[str]) -> None:
    """Parse a command of the project's as it would be; settings have to be of the config's keys and types."""
    words = words[
        next(i for i, word in enumerate(words) if Path(word).name in ("mdpr", "mdpr_fastreid", "train_net.py")) :
    ]
    if "Benchmark" in words[0]:
        words = ["mdpr", "compare", *("--shared" if word == "--config-file" else word for word in words[1:])]
    if not words[0].endswith("train_net.py"):
        args = cli.build_parser().parse_args(words[1:])
        settings = getattr(args, "overrides", None) or getattr(args, "opts", None) or []
    else:
        args = default_argument_parser().parse_args(words[1:])
        settings = args.opts
        name = args.config_file
        _import_packages_of((ROOT / words[0]).parent)
        if name and name != "shop.yml":  # the tutorial's
            get_cfg().merge_from_file(str(ROOT / name) if (ROOT / name).exists() else config_file(name))
    get_cfg().merge_from_list(settings)


def _import_packages_of(project: Path) -> None:
    """What a project's ``train_net.py`` imports registers the keys of its configs."""
    for package in project.glob("*/__init__.py") if ROOT / "projects" in project.parents else ():
        sys.path.insert(0, str(project))
        importlib.import_module(package.parent.name)


def _commands(page: Path) -> Iterator[str]:
    """Commands of the project's in the blocks of a page, each with its continued lines."""
    for language, block in _blocks(page):
        if language in ("", "sh", "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                line = line.removeprefix("$ ")
                if re.match(r"(?:mdpr|python (?:-m mdpr_fastreid|(?:\S+/)?train_net\.py)|torchrun)\b(?! *[|])", line):
                    yield line


def _blocks(page: Path) -> list[tuple[str, str]]:
    """Language and content of the blocks of a page."""
    return re.findall(r"^```(\w*)[^\n]*\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def _without_blocks(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def _anchors(page: Path) -> set[str]:
    """What links to headings are called, by GitHub and by mkdocs."""
    headings = re.findall(r"^#+ +(.+)$", _without_blocks(page), re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


def _has(cfg: CfgNode, key: str) -> bool:
    for name in key.split("."):
        if not isinstance(cfg, CfgNode) or name not in cfg:
            return False
        cfg = cfg[name]
    return True


def _navigated(entries: list) -> Iterator[str]:
    for entry in entries:
        for page in entry.values():
            if isinstance(page, list):
                yield from _navigated(page)
            else:
                yield page
