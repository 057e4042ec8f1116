"""The tables of keys."""

import subprocess
import sys

import pytest
from fastreid.config import CfgNode, defaults, get_cfg

from mdpr_fastreid import add_mdpr_config
from mdpr_fastreid.config import Key, adding, check_config, read_config, register_keys, without_unused_project_keys
from mdpr_fastreid.config.adding import added_keys
from mdpr_fastreid.config.fastreid_keys import FASTREID_KEYS
from mdpr_fastreid.config.keys import value_of
from mdpr_fastreid.config.names import known_names
from mdpr_fastreid.config.plugin_keys import PLUGIN_KEYS
from mdpr_fastreid.config.reference import KEYS
from mdpr_fastreid.config.values import whole
from mdpr_fastreid.errors import SettingsError


def leaves(cfg, prefix=""):
    for name, value in cfg.items():
        yield from leaves(value, f"{prefix}{name}.") if isinstance(value, CfgNode) else [f"{prefix}{name}"]


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


def test_the_tables_have_every_key_of_a_config_once():
    names = [key.name for key in (*FASTREID_KEYS, *added_keys())]
    assert len(set(names)) == len(names)
    assert sorted(leaves(get_cfg())) == sorted(names)


def test_fastreids_table_has_the_keys_that_stock_has():
    stock = (
        "from fastreid.config.config import CfgNode; from fastreid.config.defaults import _C\n"
        "def leaves(cfg, prefix=''):\n"
        "    for name, value in cfg.items():\n"
        "        yield from leaves(value, f'{prefix}{name}.') if isinstance(value, CfgNode) else [f'{prefix}{name}']\n"
        "print(*leaves(_C))"
    )
    printed = subprocess.run([sys.executable, "-c", stock], check=True, capture_output=True, text=True).stdout
    assert sorted(printed.split()) == sorted(key.name for key in FASTREID_KEYS)


def test_every_key_has_a_meaning_and_accepts_its_default():
    cfg = get_cfg()
    for key in KEYS:
        assert key.meaning
        assert not key.meaning.endswith("."), key
        assert key.values.accepts(value_of(cfg, key.name)), key
    assert all(key.values.accepts(key.default) for key in PLUGIN_KEYS)


def test_every_registry_that_the_tables_name_knows_the_default():
    cfg = get_cfg()
    for key in KEYS:
        if key.values.registry:
            names = key.values.names(value_of(cfg, key.name))
            assert set(names) <= set(known_names(key.values.registry, cfg)), key


@pytest.fixture
def project(monkeypatch):
    """Keys that a test registers go with it."""
    monkeypatch.setattr(adding, "_project_keys", dict(adding._project_keys))
    monkeypatch.setattr(defaults, "_C", defaults._C.clone())


WIDTH = Key("MODEL.MINE.WIDTH", 64, whole(1), "Width of mine", ("MODEL.META_ARCHITECTURE", "Mine"))


def test_a_registered_key_is_read_and_checked_where_its_part_is_used(project):
    register_keys(WIDTH)
    register_keys(WIDTH)  # as a module that is imported again does
    assert defaults._C.MODEL.MINE.WIDTH == 64
    cfg = read_config("", ["MODEL.MINE.WIDTH", "0"], parts=())
    check_config(cfg, parts=("model",))  # of another architecture
    register_keys(Key("MODEL.MINE.DEPTH", 2, whole(1), "Depth of mine"))
    with pytest.raises(SettingsError, match="no MODEL.MINE.DEPTH, a key of mdpr_fastreid or of a project"):
        check_config(cfg, parts=("model",))
    cfg = read_config("", ["MODEL.MINE.DEPTH", "0"], parts=())
    with pytest.raises(SettingsError, match="MODEL.MINE.DEPTH must be a whole number of 1 or more, got 0"):
        check_config(cfg, parts=("model",))


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (Key("MODEL.MDPR.PARTS", 2, whole(1), "Mine"), "MODEL.MDPR.PARTS is a key of every config already"),
        (Key("MODEL.DEVICE", 2, whole(1), "Mine"), "MODEL.DEVICE is a key of every config already"),
        (Key("MODEL.MINE.WIDTH", 0, whole(1), "Mine"), "must be a whole number of 1 or more, and its default is 0"),
    ],
)
def test_a_key_that_cannot_be_registered_is_an_error(project, key, message):
    with pytest.raises(ValueError, match=message):
        register_keys(key)


def test_a_config_that_does_not_use_a_projects_keys_is_read_without_the_project(project):
    everyone = Key("MODEL.MINE.EVERYONE", 1, whole(1), "Used by all")
    register_keys(WIDTH, Key("MODEL.MINE.DEEP.DEPTH", 2, whole(1), "Depth", WIDTH.used_with))
    cfg = get_cfg()
    assert "MINE" not in without_unused_project_keys(cfg).MODEL
    assert cfg.MODEL.MINE.WIDTH == 64
    cfg.MODEL.META_ARCHITECTURE = "Mine"
    assert without_unused_project_keys(cfg).MODEL.MINE == cfg.MODEL.MINE
    register_keys(everyone)
    cfg = get_cfg()
    assert without_unused_project_keys(cfg).MODEL.MINE == {"EVERYONE": 1}


def test_a_key_may_be_used_with_any_of_several_values(project):
    register_keys(Key("MODEL.MINE.DEPTH", 2, whole(1), "Depth", ("MODEL.META_ARCHITECTURE", ("Mine", "Yours"))))
    for architecture, used in (("Mine", True), ("Yours", True), ("Theirs", False)):
        cfg = get_cfg()
        cfg.MODEL.META_ARCHITECTURE = architecture
        assert ("MINE" in without_unused_project_keys(cfg).MODEL) == used


def test_two_projects_cannot_give_a_key_two_meanings(project):
    register_keys(WIDTH)
    with pytest.raises(ValueError, match="registered already"):
        register_keys(Key("MODEL.MINE.WIDTH", 32, whole(1), "Width of mine"))
