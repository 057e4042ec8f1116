"""Which part of the package may import which, and who may touch FastReID: read from the source, nothing is imported."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mdpr_fastreid"
FILES = {
    path.relative_to(PACKAGE.parent).with_suffix("").as_posix().removesuffix("/__init__").replace("/", "."): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
# To be deleted once they do not hold any more
CIRCLES_STILL_THERE = [["modeling", "weights"]]  # weights.published names modeling's layers, the backbones load weights
SET_ON_PURPOSE = {
    "mdpr_fastreid.engine.launch: comm._LOCAL_PROCESS_GROUP",  # FastReID's own launch sets it, and ours runs instead
    "mdpr_fastreid.bench.rerank: compute_dist.index_init_cpu",  # a stopwatch around stock's search, then put back
}


@cache
def tree(module):
    return ast.parse(FILES[module].read_text())


@cache
def imports(module):
    """What a module imports: (name, whether only when a function runs); a name of ours is that of a module."""
    package = module if FILES[module].name == "__init__.py" else module.rpartition(".")[0]
    found = set()

    def visit(node, lazily):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                found.update((name.name, lazily) for name in child.names)
            elif isinstance(child, ast.ImportFrom):
                above = package.split(".")[: len(package.split(".")) - child.level + 1] if child.level else []
                base = ".".join([*above, *([child.module] if child.module else [])])
                for name in child.names:
                    found.add((f"{base}.{name.name}" if f"{base}.{name.name}" in FILES else base, lazily))
            else:
                visit(child, lazily or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))

    visit(tree(module), False)
    return frozenset(found)


def is_in(module, *packages):
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def crossing(start, *ends, but=(), lazily=True):
    """The imports from one package into others, as (module, imported)."""
    return {
        (module, name)
        for module in FILES
        if is_in(module, f"mdpr_fastreid.{start}") and not is_in(module, *(f"mdpr_fastreid.{name}" for name in but))
        for name, lazy in imports(module)
        if is_in(name, *(f"mdpr_fastreid.{end}" for end in ends)) and (lazily or not lazy)
    }


def circles(graph):
    """The strongly connected parts of a graph that are more than a node (Tarjan)."""
    order, low, stack, found = {}, {}, [], []

    def visit(node):
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in order:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == order[node]:
            part = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(part) > 1:
                found.append(sorted(part))

    for node in graph:
        if node not in order:
            visit(node)
    return found


def room(module):
    """The folder, or the file, right below the package; the package itself is a room of its own."""
    return module.split(".")[1] if "." in module else module


def test_the_renderer_imports_nothing_of_the_package_around_it():
    inside = {name for module in FILES if is_in(module, "mdpr_fastreid.data.synth") for name, _ in imports(module)}
    assert {
        name for name in inside if is_in(name, "mdpr_fastreid") and not is_in(name, "mdpr_fastreid.data.synth")
    } == set()
    assert "mdpr_fastreid.data.synth.exact" in inside


@pytest.mark.parametrize(
    ("start", "but", "ends"),
    [
        ("evaluation", ("evaluation.evaluator",), ("engine", "compare", "bench", "cli", "pictures", "app")),
        ("modeling", (), ("engine", "compare", "bench", "cli", "pictures", "app", "data")),
        ("inference", (), ("engine", "compare", "bench", "cli", "pictures", "app")),
        ("weights", (), ("engine", "compare", "bench", "cli", "pictures", "app", "data")),
        ("data", (), ("engine", "compare", "bench", "cli", "pictures", "app", "modeling")),
        ("engine", (), ("compare", "bench", "cli", "pictures", "app")),
        ("search", (), ("engine", "app", "compare", "bench", "cli")),
        ("bench", (), ("compare", "cli")),
        ("compare", (), ("cli", "app")),
        ("pictures", (), ("compare", "bench", "cli", "app")),
        ("app", (), ("compare", "bench", "cli")),
    ],
)
def test_nothing_below_imports_what_is_above_not_even_when_a_function_runs(start, but, ends):
    assert crossing(start, *ends, but=but) == set()


def test_the_rooms_import_each_other_in_no_circle():
    graph = {}
    for module in FILES:
        for name, lazily in imports(module):
            if (
                not lazily
                and is_in(name, "mdpr_fastreid")
                and room(name) != room(module)
                and room(module) != "mdpr_fastreid"
            ):
                graph.setdefault(room(module), set()).add(room(name))
    for names in graph.values():
        names.discard("mdpr_fastreid")  # its version, and that it is imported first
    assert [circle for circle in circles(graph) if circle not in CIRCLES_STILL_THERE] == []
    assert graph["engine"] and graph["cli"]


def test_modules_import_each_other_in_no_circle():
    # A module that takes a name from the package it is in waits for nothing that the package does not have yet
    graph = {
        module: {name for name, lazily in imports(module) if not lazily and name in FILES and not is_in(module, name)}
        for module in FILES
    }
    assert circles(graph) == []


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c"]]


def foreign_names(module):
    """Names that a file has bound by importing anything of FastReID's."""
    names = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            names |= {(one.asname or one.name).partition(".")[0] for one in node.names if is_in(one.name, "fastreid")}
        elif isinstance(node, ast.ImportFrom) and is_in(node.module or "", "fastreid"):
            names |= {one.asname or one.name for one in node.names}
    return names


def root(node):
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def replacements(module):
    """Where a file sets, or deletes, an attribute of what is FastReID's: ``module: attribute``."""
    names = foreign_names(module)
    found = set()
    for node in ast.walk(tree(module)):
        targets = []
        if isinstance(node, ast.Assign | ast.Delete):
            targets = [one for target in node.targets for one in getattr(target, "elts", [target])]
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        elif isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("setattr", "delattr", "__setattr__") and root(node.args[0]) in names:
                found.add(f"{module}: {ast.unparse(node.args[0])}.{ast.unparse(node.args[1])}")
        attributes = [one for one in targets if isinstance(one, ast.Attribute) and root(one) in names]
        found |= {f"{module}: {ast.unparse(one)}" for one in attributes}
    return found


def test_only_compat_replaces_anything_of_fastreid():
    modules = [module for module in FILES if not is_in(module, "mdpr_fastreid.compat")]
    assert set().union(*map(replacements, modules)) - SET_ON_PURPOSE == set()


def test_a_replacement_is_found(monkeypatch):
    source = "from fastreid.engine import defaults as d\nd.launch = 1\nsetattr(d.x, 'y', 2)\nd.x.y = 3\nd['x'] = 4\n"
    monkeypatch.setattr(sys.modules[__name__], "tree", lambda module: ast.parse(source))
    assert replacements("any") == {"any: d.launch", "any: d.x.'y'", "any: d.x.y"}


def test_production_code_does_not_import_unittest():
    users = {module for module in FILES for name, _ in imports(module) if is_in(name, "unittest")}
    assert users == set()


def test_importing_the_package_or_asking_for_help_imports_neither_benchmarks_nor_comparisons():
    program = (
        "import contextlib, sys, mdpr_fastreid.cli\n"
        "with contextlib.suppress(SystemExit): mdpr_fastreid.cli.main(['--help'])\n"
        "print([name for name in sys.modules if name.startswith(('mdpr_fastreid.bench', 'mdpr_fastreid.compare'))])"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "[]", ended.stdout
    assert "train methods under the same conditions" in " ".join(ended.stdout.split())
