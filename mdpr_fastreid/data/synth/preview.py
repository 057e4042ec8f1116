"""Contact sheets, to look at: identities by cameras, look-alikes side by side, masks over pictures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from .camera import make_camera, neutral
from .exact import PI
from .identity import TEST, look_alike_group
from .manifest import Request
from .presets import Preset
from .shot import Picture, make_moment, shoot
from .writer import PART_COLOURS, identity_of

ROWS, TURNS, GAP = 8, 4, 2


def _sheet(rows: list[list[np.ndarray]]) -> Image.Image:
    """Pictures of one size in rows, a light gap between them."""
    height, width = rows[0][0].shape[:2]
    sheet = np.full((len(rows) * (height + GAP), max(map(len, rows)) * (width + GAP), 3), 245, dtype=np.uint8)
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            sheet[y * (height + GAP) :, x * (width + GAP) :][:height, :width] = picture
    return Image.fromarray(sheet)


def _shots(request: Request, indices: list[int]) -> list[list[Picture]]:
    """One picture by each camera of each of the test identities ``indices``."""
    preset, seed = request.preset, request.seed
    rows = []
    for index in indices:
        who, row = identity_of(request, TEST, index), []
        for number in range(preset.cameras):
            camera = make_camera(seed, number, preset)
            moment = make_moment((seed, 40, index, number), preset, camera, preset.occlusion)
            row.append(shoot(seed, who, camera, moment, request.size))
        rows.append(row)
    return rows


def _groups(preset: Preset) -> list[list[int]]:
    """The identities of test, by group of look-alikes."""
    groups: dict[int, list[int]] = {}
    for index in range(preset.test_identities):
        group, _ = look_alike_group(index, preset.test_identities, preset.look_alikes, preset.look_alike_share)
        groups.setdefault(group, []).append(index)
    return list(groups.values())


def identities_sheet(request: Request) -> Image.Image:
    """Identities (rows) before every camera (columns), as the set has them."""
    firsts = [members[0] for members in _groups(request.preset)]
    return _sheet([[picture.rgb for picture in row] for row in _shots(request, firsts[:ROWS])])


def look_alikes_sheet(request: Request) -> Image.Image:
    """Look-alikes in neighbouring rows, turned by quarters, two groups side by side, by an ideal camera."""
    preset, seed = request.preset, request.seed
    camera = neutral(make_camera(seed, 4 % preset.cameras, preset))
    # Identities that look like nobody else come last
    groups = sorted(_groups(preset), key=len, reverse=True)
    rows = []
    for left in range(0, min(len(groups) - 1, ROWS), 2):
        for pair in zip(groups[left], groups[left + 1], strict=False):
            row = []
            for index in pair:
                for turn in range(TURNS):
                    moment = make_moment((seed, 41, left, turn), preset, camera, 0.0)
                    plain = replace(
                        moment,
                        turn=turn * 2 * PI / TURNS + 0.2,
                        box_x=0.0,
                        box_y=0.0,
                        box_scale=1.0,
                        behind=False,
                        streak=False,
                        shadow=0.0,
                    )
                    row.append(shoot(seed, identity_of(request, TEST, index), camera, plain, request.size).rgb)
            rows.append(row)
    return _sheet(rows[:ROWS])


def masks_sheet(request: Request) -> Image.Image:
    """Pictures, each followed by itself under the colours of its mask."""
    palette = np.asarray(PART_COLOURS, dtype=np.uint8)
    firsts = [members[0] for members in _groups(request.preset)]
    rows = []
    for shots in _shots(request, firsts[: ROWS // 2]):
        row = []
        for rgb, parts in shots:
            overlay = np.where(parts[..., None] > 0, rgb // 3 + palette[parts] // 3 * 2, rgb)
            row += [rgb, overlay.astype(np.uint8)]
        rows.append(row)
    return _sheet(rows)


def write_previews(request: Request, folder: Path) -> list[Path]:
    """Write the three sheets as JPEG files into ``folder``; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    sheets = {"identities": identities_sheet, "look-alikes": look_alikes_sheet, "masks": masks_sheet}
    paths = []
    for name, make in sheets.items():
        paths.append(folder / f"{name}.jpg")
        make(request).save(paths[-1], quality=88)
    return paths
