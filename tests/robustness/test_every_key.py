"""Every key of a config, with each value outside of its range: exit code 2 and one line, before anything is written.

The values come from what ``docs/reference/config.md`` says that a key accepts: a number too low, one too high, an
infinite one, no number, another type, a list of another length. A key that is added is tested without a line here.
"""

import re

import pytest
from fastreid.config import CfgNode, get_cfg
from robustness.entry_points import assert_line, assert_refused, files_in, train_net

from mdpr_fastreid.config import check_config
from mdpr_fastreid.config.adding import added_keys
from mdpr_fastreid.config.keys import Key, value_of
from mdpr_fastreid.config.reference import KEYS
from mdpr_fastreid.errors import SettingsError

_SWITCHED_ON = re.compile(r"\.ENABLED$")


def outside(key: Key, default: object) -> list[object]:
    """Values that the words about a key exclude."""
    says, found = key.values.says, [float("nan"), b"bytes", {}, object]
    numbers = [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?(?:e\d+)?", says)]
    if says.startswith("True"):
        found += [None, 1, "True"]
    elif says.startswith("a whole number"):
        found += [None, 1.5, "1", True, float("inf")]
        found += [int(n) - 1 for n in numbers[:1]] + [int(n) + 1 for n in numbers[1:2]]
    elif says.startswith("a number"):
        found += [None, "1", True]
        found += [numbers[0] - 1e-6] if numbers else []
        found += [numbers[1] + 1e-6] if len(numbers) > 1 else []
        found += [numbers[0]] if "greater" in says else []
        found += [float("inf")] if key.name != "SOLVER.CLIP_GRADIENTS.NORM_TYPE" else []
    elif says.startswith(("a list", "a tuple")):
        found += [None, 3, "text", [None], [object], [[[]]]]
        found += [[1] * 7] if re.search(r"list of \d|\[height", says) else []
    elif says.startswith("a path"):
        found += [3, [], "a\0b"]
    elif says.startswith("the path of a folder"):
        found += [None, "", "a\0b", 3]
    else:
        found += [3, [], True] if isinstance(default, str) else []
    return found


def in_use(key: Key) -> CfgNode:
    """A config in which a key counts: what it is used with, and the switch beside it, are on."""
    cfg = get_cfg()
    if key.used_with:
        name, wanted = key.used_with
        wanted = wanted[0] if isinstance(wanted, tuple) else wanted
        put(cfg, name, wanted if isinstance(value_of(cfg, name), str) else (wanted,))
        if name.startswith("INPUT.CLIP."):
            cfg.INPUT.FIELDS = ("clip",)
    section = value_of(cfg, key.name.rpartition(".")[0]) if "." in key.name else cfg
    if not _SWITCHED_ON.search(key.name) and "ENABLED" in section:
        section.ENABLED = True
    return cfg


def put(cfg: CfgNode, name: str, value: object) -> None:
    section, _, last = name.rpartition(".")
    node = value_of(cfg, section) if section else cfg
    node[last] = value


CASES = [
    pytest.param(key, value, id=f"{key.name}={value!r:.30}")
    for key in KEYS
    for value in outside(key, value_of(get_cfg(), key.name))
]


@pytest.mark.parametrize("key, value", CASES)
def test_a_value_outside_of_its_range(key, value):
    cfg = in_use(key)
    put(cfg, key.name, value)
    with pytest.raises(SettingsError) as caught:
        check_config(cfg)
    assert_line(str(caught.value), f"{key.name} must be {key.values.says}, got ")


def test_every_key_is_in_the_table():
    def names(node, prefix=""):
        for name, value in node.items():
            yield from names(value, f"{prefix}{name}.") if isinstance(value, CfgNode) else [f"{prefix}{name}"]

    known = {key.name for key in (*KEYS, *added_keys())}  # those of the projects that other tests have imported, too
    missing = set(names(get_cfg())) - known - {"VERSION", "_BASE_"}
    assert not {name for name in missing if not name.startswith("MODEL.BACKBONE.BUILDER")}, missing


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_a_key_of_a_command_line_without_a_value_or_with_one_of_another_type(key, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_refused(train_net([key.name], capsys), f"{key.name} has no value")
    misspelt = key.name[:-1] + "_X"
    assert_refused(train_net([misspelt, "1"], capsys), f"no key {misspelt}")
    if not isinstance(value_of(get_cfg(), key.name), str):
        assert_refused(train_net([key.name, "{'a': 1}"], capsys), f"{key.name} cannot be")
    assert files_in(tmp_path) == {}


def test_these_are_enough():
    assert len(CASES) + len(KEYS) >= 300
