"""Label images by the tables of the groupings."""

import numpy as np
import pytest
from support.mask_files import write_fields, write_grey_png, write_labels

from mdpr_fastreid.data.masks import PART_GROUPS, UNLABELLED, LabelImageGroups
from mdpr_fastreid.data.reading import DamagedImageError
from mdpr_fastreid.errors import UsageError


def names_in(text):
    return text.split()


# Of the labels from 0 on
SYNTHREID = names_in("background hair face upper arms lower legs shoes bag")
ATR = names_in(
    "background hat hair sunglasses upper-clothes skirt pants dress belt shoe shoe face leg leg arm arm bag scarf"
)
LIP = names_in(
    "background hat hair glove sunglasses upper-clothes dress coat socks pants jumpsuits scarf skirt face arm arm leg "
    "leg shoe shoe"
)
HEAD, TORSO, LEGS, SHOES, BAG = 1, 2, 3, 4, 5
CLASSES = {
    "background": 0,
    **dict.fromkeys(["hat", "hair", "sunglasses", "face", "scarf"], HEAD),
    **dict.fromkeys(["upper-clothes", "dress", "coat", "belt", "arm", "glove", "jumpsuits", "upper", "arms"], TORSO),
    **dict.fromkeys(["skirt", "pants", "leg", "socks", "lower", "legs"], LEGS),
    **dict.fromkeys(["shoe", "shoes"], SHOES),
    "bag": BAG,
}
TABLES = {
    "synthreid_four": [TORSO if name == "bag" else CLASSES[name] for name in SYNTHREID],
    "synthreid_five": [CLASSES[name] for name in SYNTHREID],
    "synthreid_eight": list(range(9)),
    "atr": [CLASSES[name] for name in ATR],
    "lip": [CLASSES[name] for name in LIP],
}


@pytest.mark.parametrize("palette", [True, False])
@pytest.mark.parametrize("name", TABLES)
def test_every_label_becomes_the_class_of_its_part(tmp_path, name, palette):
    table = TABLES[name]
    labels = np.random.default_rng(0).permutation([*range(len(table)), 255] * 6).reshape(6, -1)
    read = PART_GROUPS.get(name).read(str(write_labels(tmp_path / "m.png", labels, palette)), (256, 128))
    assert read.dtype == np.uint8
    classes = {**dict(enumerate(table)), 255: UNLABELLED}
    assert read.tolist() == [[classes[label] for label in row] for row in labels.tolist()]


@pytest.mark.parametrize("name", TABLES)
def test_a_label_outside_the_table_names_the_file_and_the_label(tmp_path, name):
    labels = np.zeros((4, 3))
    labels[2, 1], labels[3, 0] = 254, len(TABLES[name])
    path = write_labels(tmp_path / "m.png", labels)
    unknown = f"{len(TABLES[name])}, 254"
    with pytest.raises(UsageError, match=rf"m\.png: label {unknown} is not in the table of .*{name}") as e:
        PART_GROUPS.get(name).read(str(path), (256, 128))
    assert not isinstance(e.value, DamagedImageError) and "\n" not in str(e.value)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_grey_levels_of_few_bits_are_the_labels_of_the_file(tmp_path, bits):
    labels = np.arange(5 * 9).reshape(5, 9) % min(2**bits, 19)
    path = write_grey_png(tmp_path / "m.png", labels, bits)
    groups = LabelImageGroups("any", {str(label): (label,) for label in range(1, 20)})
    assert np.array_equal(groups.read(str(path), (256, 128)), labels)


def test_confidence_fields_are_another_kind(tmp_path):
    path = write_fields(tmp_path / "m.npy")
    with pytest.raises(UsageError, match=r"m\.npy: part grouping atr reads images of labels.*pifpaf_eight"):
        PART_GROUPS.get("atr").read(str(path), (256, 128))
