"""Configs: every key (``keys``, ``fastreid_keys``), reading (``reading``), and checks of the settings (``checks``)."""

from mdpr_fastreid.config.adding import add_mdpr_config, register_keys
from mdpr_fastreid.config.checks import PARTS, check_config, without_unused_project_keys
from mdpr_fastreid.config.keys import Key
from mdpr_fastreid.config.names import UnknownNameError
from mdpr_fastreid.config.reading import CONFIGS, config_file, config_from, read_config

__all__ = [
    "CONFIGS",
    "PARTS",
    "Key",
    "UnknownNameError",
    "add_mdpr_config",
    "check_config",
    "config_file",
    "config_from",
    "read_config",
    "register_keys",
    "without_unused_project_keys",
]
