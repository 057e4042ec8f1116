"""RegNet and EfficientNet read their settings by a path relative to the working folder.

``fastreid/modeling/backbones/regnet/...yaml`` is found only from the folder that holds a checkout of FastReID, always;
an installed FastReID has the files but never finds them. Can go when FastReID looks beside its own modules.
"""

from pathlib import Path

import fastreid
from fastreid.modeling.backbones.regnet.config import cfg as regnet_cfg


def apply() -> None:
    """Let RegNet's global config find a missing file inside the installed package."""
    stock_merge = regnet_cfg.merge_from_file

    def merge_from_file(cfg_filename: str) -> None:
        packaged = Path(fastreid.__file__).parent.parent / cfg_filename
        stock_merge(cfg_filename if Path(cfg_filename).exists() else str(packaged))

    # A config node takes assignments for keys; this replaces a method of the one object
    object.__setattr__(regnet_cfg, "merge_from_file", merge_from_file)
