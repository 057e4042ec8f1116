"""A sheet has a cell for every image and every map."""

import numpy as np
from PIL import Image

from mdpr_fastreid.pictures.attention_sheet import Looked, attention_sheet
from mdpr_fastreid.pictures.canvas import CELL
from mdpr_fastreid.pictures.overlay import overlay

NAMES = ("attention4_1", "attention4_2", "attention3_1", "attention3_2", "stripes")


def looked(name="a.jpg", names=NAMES, seed=0):
    rng = np.random.default_rng(seed)
    picture = Image.fromarray(rng.integers(0, 256, (CELL[1], CELL[0], 3), dtype=np.uint8))
    return Looked(name, picture, {key: rng.random((8, 4), dtype=np.float32) for key in names})


def find(sheet, cell):
    """Where a cell stands in a sheet, left and top."""
    pixels, cell = np.asarray(sheet), np.asarray(cell)
    (height, width), wanted = cell.shape[:2], cell.tobytes()
    return next(
        (left, top)
        for top in range(pixels.shape[0] - height + 1)
        for left in range(pixels.shape[1] - width + 1)
        if np.array_equal(pixels[top, left : left + 4], cell[0, :4])
        and pixels[top : top + height, left : left + width].tobytes() == wanted
    )


def test_images_and_maps_stand_in_rows_in_their_order():
    rows = [looked(f"{seed}.jpg", seed=seed) for seed in range(2)]
    sheet = attention_sheet(rows)
    places = [
        [
            find(sheet, row.picture),
            *(find(sheet, overlay(np.asarray(row.picture), values)) for values in row.maps.values()),
        ]
        for row in rows
    ]
    for line in places:
        assert None not in line
        assert len({top for _, top in line}) == 1
        assert [left for left, _ in line] == sorted({left for left, _ in line})
    assert places[0][0][1] < places[1][0][1]
    lefts = [left for left, _ in places[0]]
    gaps = np.diff(lefts) - CELL[0]
    assert gaps[1] == gaps[3] < min(gaps[0], gaps[2], gaps[4])  # what belongs together stands closer


def test_the_borders_of_stripes_are_where_the_map_is_cut():
    row = looked(names=("stripes",))
    plain, cut = (np.asarray(attention_sheet([row], stripes)).astype(int) for stripes in (0, 3))
    changed = np.flatnonzero((plain != cut).any(axis=(1, 2)))
    top = find(Image.fromarray(plain.astype(np.uint8)), overlay(np.asarray(row.picture), row.maps["stripes"]))[1]
    # 8 rows in 3 stripes are 3, 3 and 2, as torch.tensor_split has them
    expected = [top + round(edge / 8 * CELL[1]) for edge in (3, 6)]
    assert all(min(abs(y - edge) for edge in expected) <= 1 for y in changed)
    assert all(np.abs(changed - edge).min() <= 1 for edge in expected)


def test_another_models_activation_is_not_called_attention():
    narrow = attention_sheet([looked(names=("activation",))])
    assert narrow.width >= 600  # its explanation fits
    assert not np.array_equal(np.asarray(narrow), np.asarray(attention_sheet([looked(names=("stripes",))])))


def test_a_very_long_name_stays_in_its_column():
    plain, long = (np.asarray(attention_sheet([looked(name)])) for name in ("a", "n" * 300))
    changed = np.flatnonzero((plain != long).any(axis=(0, 2)))
    assert changed.max() <= 14 + CELL[0] + 2
