"""The study: every row differs from the one before in what it says, and the control has other images' masks."""

import itertools
import os
import sys

import pytest
from small_drop import PROJECT

from mdpr_fastreid.config import read_config
from mdpr_fastreid.data.items import fields_of

STUDY = PROJECT / "study"
sys.path.insert(0, str(STUDY))


def settings(path):
    cfg = read_config(path, parts=("model",))
    return {**leaves(cfg.MODEL.DROP), "GROUPS": cfg.INPUT.MASK.GROUPS}


def leaves(node, prefix=""):
    found = {}
    for name, value in node.items():
        found |= leaves(value, f"{prefix}{name}.") if hasattr(value, "items") else {f"{prefix}{name}": value}
    return found


def test_each_step_of_the_ladder_changes_one_setting_and_the_last_leads_to_drop():
    steps = [PROJECT / "configs/shared_features_r18.yml", *sorted((STUDY / "ladder").glob("*.yml"))]
    steps.append(STUDY / "drop.yml")
    changed = []
    for before, after in itertools.pairwise(steps):
        one, other = settings(before), settings(after)
        changed += [[key for key in one if one[key] != other[key]]]
    single = ["DPU.ENABLED", "PPE.ENABLED", "PARSING.SCALE", "POOLING"]
    single += ["PCT.VISIBILITY", "PCT.BANK_SIZE"]
    assert changed == [[key] for key in single]


@pytest.mark.parametrize("variant", sorted((STUDY / "variants").glob("*.yml")), ids=lambda path: path.stem)
def test_a_variant_changes_one_setting(variant):
    whole, changed = settings(STUDY / "drop.yml"), settings(variant)
    assert sum(whole[key] != changed[key] for key in whole) == 1


def test_the_control_has_the_same_masks_on_other_images(monkeypatch):
    import shuffled_masks

    monkeypatch.setattr(shuffled_masks.SynthReIDShuffledMasks, "preset", "occluded_tiny")
    data = shuffled_masks.SynthReIDShuffledMasks(os.environ["FASTREID_DATASETS"])
    masks = [fields_of(item)["mask"] for item in data.train]
    right = [mask for item, mask in zip(data.train, masks, strict=True) if mask.rpartition("/")[2][:20] in item[0]]
    assert len(set(masks)) == len(masks) == 256
    assert len(right) < 10
