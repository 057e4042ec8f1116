"""From a command line to a config: files, the files they are based on, and overrides."""

import difflib
import os
import stat
from argparse import Namespace
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import yaml
from fastreid.config import CfgNode, get_cfg
from fastreid.utils.file_io import PathManager

from mdpr_fastreid.config.adding import add_mdpr_config
from mdpr_fastreid.config.checks import PARTS, check_config
from mdpr_fastreid.config.keys import value_of
from mdpr_fastreid.errors import UsageError, shown

CONFIGS = Path(__file__).parents[1] / "configs"
"""The configurations that come with the plugin, also when it is installed from a wheel."""

_BASE = "_BASE_"


def config_from(args: Namespace, parts: Collection[str] | None = None) -> CfgNode:
    """The config of ``--config-file`` and the ``KEY VALUE`` overrides, checked and frozen.

    Args:
        args: with ``config_file``, ``opts`` and, if it is of FastReID's command line, ``eval_only``.
        parts: what is checked, as in :func:`~mdpr_fastreid.config.check_config`; by default all but training where
            ``eval_only`` says so.

    Raises:
        UsageError: a file is missing or cannot be read, a key does not exist, or a value is wrong.
    """
    if parts is None:
        parts = ("model", "evaluation") if getattr(args, "eval_only", False) else PARTS
    cfg = read_config(args.config_file, args.opts or (), parts)
    cfg.freeze()
    return cfg


def read_config(file: str | os.PathLike, overrides: Sequence = (), parts: Collection[str] = PARTS) -> CfgNode:
    """The config of a file and of overrides, checked; it can still be changed.

    Args:
        file: a path, or the name of a config of ours (``MDPR/duke_r50.yml``); "" for the defaults.
        overrides: ``KEY, VALUE, KEY, VALUE, ...``; values that are strings are read as on a command line.
        parts: what is checked, as in :func:`~mdpr_fastreid.config.check_config`.

    Raises:
        UsageError: as :func:`config_from`.
    """
    cfg = get_cfg()
    add_mdpr_config(cfg)
    if file:
        merge_file(cfg, config_file(os.fspath(file)))
    merge_overrides(cfg, list(overrides))
    check_config(cfg, parts)
    return cfg


def config_file(name: str) -> str:
    """The path of a configuration: a file of the user's own, or one that comes with the plugin.

    Args:
        name: a path, or the name of one of ours: ``MDPR/duke_r50.yml``, with or without ``configs/`` before it.

    Returns:
        The path as it is if the file exists, or if there is no such configuration of ours.
    """
    ours = CONFIGS / name.removeprefix("configs/")
    return name if os.path.exists(name) or not os.path.isfile(ours) else str(ours)


def merge_file(cfg: CfgNode, path: str) -> None:
    """Set the keys of a YAML file, after those of the files that it is based on.

    Like ``cfg.merge_from_file``, with errors that name the file, the key and the way out.

    Raises:
        UsageError: a file cannot be read, has a key twice or an unknown one, or a value of another type.
    """
    for file, settings in _with_bases(path):
        for key, value in _settings(cfg, settings, file):
            _set(cfg, key, value, f"config file {file}: {key} cannot be")


def merge_overrides(cfg: CfgNode, overrides: list) -> None:
    """Set the pairs ``KEY, VALUE, KEY, VALUE, ...`` of a command line.

    Raises:
        UsageError: a key does not exist, has no value, or one of another type.
    """
    known = set(_keys(cfg))
    for key in overrides[::2]:
        if key not in known:
            raise UsageError(_about_unknown_key(cfg, key, "command line"))
    if len(overrides) % 2:
        raise UsageError(f"overrides are pairs KEY VALUE; {overrides[-1]} has no value")
    for key, value in zip(overrides[::2], overrides[1::2], strict=True):
        _set(cfg, key, value, f"{key} cannot be")


def _set(cfg: CfgNode, key: str, value: object, cannot_be: str) -> None:
    try:
        cfg.merge_from_list([key, value])
    except (ValueError, AssertionError, RecursionError, MemoryError) as error:
        raise UsageError(f"{cannot_be} {_short(value)}: {_expected(value_of(cfg, key), value)}") from error


def _expected(default: object, value: object) -> str:
    if isinstance(default, bool):
        return "give True or False"
    if isinstance(default, int):
        return "give a whole number"
    if isinstance(default, float):
        return "give a number with a decimal point, like 1.0 or 3.5e-4"
    if isinstance(default, str):
        return f"give text; for these very characters put two pairs of quotes around them: \"'{_short(value)}'\""
    return 'give a list: [1, 2], or ("Market1501",) of a single text'


def _short(value: object) -> str:
    try:
        words = repr(value)
    except RecursionError:
        return "a list that is nested too deeply"
    return words if len(words) <= 80 else f"{words[:60]}... ({len(words)} characters)"


def _with_bases(path: str) -> list[tuple[str, dict]]:
    """Each file with its settings, the one without ``_BASE_`` first."""
    files: list[tuple[str, dict]] = []
    seen: list[str] = []
    following: str | None = path
    while following is not None:
        settings = _read(following)
        seen.append(os.path.realpath(following))
        if seen[-1] in seen[:-1]:
            circle = " -> ".join(os.path.basename(name) for name in seen)
            raise UsageError(f"config file {path}: {_BASE} goes in a circle: {circle}")
        files.insert(0, (following, settings))
        following = _base_of(settings.pop(_BASE, None), following)
    return files


def _base_of(base: object, path: str) -> str | None:
    if base is None:
        return None
    if not isinstance(base, str) or not base:
        raise UsageError(f"config file {path}: {_BASE} must be the path of one file, got {_short(base)}")
    if base.startswith("~"):
        return os.path.expanduser(base)
    return base if base.startswith(("/", "https://", "http://")) else os.path.join(os.path.dirname(path), base)


def _read(path: str) -> dict:
    if "\0" in path:
        raise UsageError(f"config file {_short(path)} is no path, as it has a NUL")
    if "://" in path:
        raise UsageError(f"config file {path} is an address, and configs are read from files: download it")
    try:
        if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode) and not os.path.isdir(path):
            raise UsageError(f"config file {path} is no regular file")
        with PathManager.open(path, "r") as file:
            settings = yaml.load(file, Loader=_Loader)
    except FileNotFoundError as error:
        raise UsageError(_about_missing_file(str(error.filename or path))) from error
    except OSError as error:
        raise UsageError(f"config file {error.filename or path}: {error.strerror or error}") from error
    except _KeyTwiceError as error:
        raise UsageError(f"config file {path}: {error}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"config file {path} cannot be read as YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise UsageError(f"config file {path} cannot be read as YAML: it is nested too deeply") from error
    if not isinstance(settings, dict):
        raise UsageError(f"config file {path} is empty, or no mapping of keys to values")
    return settings


def _about_missing_file(missing: str) -> str:
    folder = os.path.dirname(missing) or "."
    names = os.listdir(folder) if os.path.isdir(folder) else []
    similar = difflib.get_close_matches(os.path.basename(missing), names, n=1)
    hint = f"; did you mean {os.path.join(folder, similar[0])}?" if similar else ""
    return f"config file {missing} does not exist{hint}"


class _KeyTwiceError(Exception):
    pass


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which refuses a key that a mapping has twice instead of dropping the first."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            name, line = (key.tag, key.value), key.start_mark.line + 1
            if name in lines:
                raise _KeyTwiceError(f"{key.value} is there twice, in lines {lines[name]} and {line}: keep one")
            lines[name] = line
        return node


def _settings(cfg: CfgNode, settings: dict, file: str, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Each key of a file with its value, whole names instead of sections."""
    where = f"config file {file}"
    for name, value in settings.items():
        key = f"{prefix}{name}"
        node = value_of(cfg, prefix.rstrip(".")) if prefix else cfg
        if not isinstance(name, str) or name not in node:
            own = "; a project's own keys are there once its code is imported (--import MODULE)"
            raise UsageError(_about_unknown_key(cfg, key, where) + own * isinstance(value, dict))
        is_section = isinstance(node[name], CfgNode)
        if is_section and isinstance(value, dict):
            yield from _settings(cfg, value, file, f"{key}.")
        elif is_section and value is not None:
            raise UsageError(f"{where}: {key} is a section of keys and cannot be {_short(value)}")
        elif isinstance(value, dict):
            raise UsageError(f"{where}: {key} is a key and has no keys of its own: {shown(', '.join(map(str, value)))}")
        elif not is_section:
            yield key, value


def _about_unknown_key(cfg: CfgNode, key: str, where: str) -> str:
    known = list(_keys(cfg))
    named = shown(key)
    hidden = "".join(char for char in key if char.isprintable() and not char.isspace() and char != "\ufeff")
    if key.startswith("--"):
        hint = "; options come before the pairs KEY VALUE"
    elif key in known:  # only in a file: on a command line it would have been found
        section, _, last = key.rpartition(".")
        hint = f"; in a file, {last} stands in the section {section}: on a line of its own, indented"
    elif hidden in known:
        return f"{where}: there is no key {key!r}, but {hidden}, without the character that does not show"
    elif not key.isascii():
        return f"{where}: there is no key {shown(ascii(key))}, as the names of keys have no letters but a to z"
    elif "=" in key and key.partition("=")[0] in known:
        name, _, value = key.partition("=")
        hint = f"; write {name} {shown(value)}, with a space"
    else:
        similar = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        if not similar:  # perhaps only its last part is right
            similar = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]][:1]
        hint = f"; did you mean {similar[0]}?" if similar else ""
    return f"{where}: there is no key {named}{hint}"


def _keys(cfg: CfgNode, prefix: str = "") -> Iterator[str]:
    for name, value in cfg.items():
        if isinstance(value, CfgNode):
            yield from _keys(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
