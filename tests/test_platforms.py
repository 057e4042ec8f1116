"""Windows and macOS: every module can be imported without what only Linux, or only POSIX, has."""

import ast
import subprocess
import sys
from pathlib import Path

import mdpr_fastreid

PACKAGE = Path(mdpr_fastreid.__file__).parent
POSIX_ONLY = ("fork", "getuid", "geteuid", "killpg", "getpgid", "setsid", "sched_getaffinity", "uname", "nice")
POSIX_ONLY += ("SIGKILL", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCHLD")
# Where they may be used: behind a look at the system, or not at all on Windows
MAY_USE = {
    "compare/processes.py": {"killpg", "SIGKILL"},
    "bench/report.py": {"sched_getaffinity"},
    "compat/process_groups.py": {"SIGKILL"},
}

# Imports everything as on a system without these: our modules cannot import the POSIX modules, and nobody has the
# attributes. Other packages may import the modules, which they choose by sys.platform.
IMPORT_ALL = """
import builtins, importlib, os, pkgutil, signal, sys

ABSENT = {"fcntl", "grp", "pwd", "pty", "resource", "spwd", "syslog", "termios", "tty"}
found = builtins.__import__

def without(name, globals=None, locals=None, fromlist=(), level=0):
    importer = (globals or {}).get("__name__", "")
    if name in ABSENT and importer.startswith("mdpr_fastreid"):
        raise ModuleNotFoundError(f"{importer} imports {name}, which Windows has not")
    return found(name, globals, locals, fromlist, level)

import torch, numpy  # they look at os and signal themselves, by sys.platform
builtins.__import__ = without
for name in sys.argv[1].split(","):
    delattr(signal if name.startswith("SIG") else os, name)

import mdpr_fastreid
names = [module.name for module in pkgutil.walk_packages(mdpr_fastreid.__path__, "mdpr_fastreid.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(len(names))
"""


def test_every_module_can_be_imported_without_what_windows_and_macos_lack():
    ended = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, ",".join(POSIX_ONLY)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout.splitlines()[-1]) > 100


def test_the_import_test_would_fail_on_a_module_that_windows_lacks(tmp_path):
    (tmp_path / "mdpr_fastreid_broken.py").write_text("import fcntl\n")
    program = (
        IMPORT_ALL.split("import mdpr_fastreid")[0] + "sys.path.insert(0, sys.argv[2]); import mdpr_fastreid_broken"
    )
    words = [sys.executable, "-c", program, ",".join(POSIX_ONLY), str(tmp_path)]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert "mdpr_fastreid_broken imports fcntl" in ended.stderr


def posix_only_names(path):
    """What of ``os`` and ``signal`` a file uses that Windows lacks."""
    return {
        node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if node.value.id in ("os", "signal") and node.attr in POSIX_ONLY
    }


def test_what_only_posix_has_is_used_in_the_named_files_only():
    used = {path.relative_to(PACKAGE).as_posix(): posix_only_names(path) for path in PACKAGE.rglob("*.py")}
    assert {path: names for path, names in used.items() if not names <= MAY_USE.get(path, set())} == {}
    assert used["compare/processes.py"] == {"killpg", "SIGKILL"}
