"""RegNet's files are found from any folder."""

import pytest
from fastreid.config import get_cfg
from fastreid.modeling.backbones import build_backbone

# Published sizes of RegNetX-200MF and RegNetY-200MF, less the classifier of 368 x 1000 weights and 1000 biases
SIZES = {"200x": 2_684_792 - 369_000, "200y": 3_162_996 - 369_000}


@pytest.mark.parametrize("depth", SIZES)
def test_regnet_is_built_with_its_published_settings_away_from_a_checkout(tmp_path, monkeypatch, depth):
    monkeypatch.chdir(tmp_path)
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.BACKBONE.NAME", "build_regnet_backbone", "MODEL.BACKBONE.DEPTH", depth])
    assert sum(p.numel() for p in build_backbone(cfg).parameters()) == SIZES[depth]
