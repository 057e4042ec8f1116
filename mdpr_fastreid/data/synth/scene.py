"""Where a camera looks: a wide background per camera, of which each image shows a piece."""

from functools import lru_cache

import numpy as np

from .canvas import Canvas
from .exact import Stream, smooth_noise

SCENES = ("street", "lawn", "shops", "station", "plaza", "parking")
WIDTHS, MARGIN = 6, 0.25
"""A panorama is this many images wide, and taller than an image by this share above and below."""

Colour = tuple[float, float, float]


def _mix(stream: Stream, *colours: Colour) -> np.ndarray:
    colour = np.asarray(stream.choice(colours), dtype=np.float32)
    return np.clip(colour * np.float32(stream.uniform(0.8, 1.15)), 0, 1)


def _ground(canvas: Canvas, stream: Stream, horizon: int, colour: np.ndarray, tiles: bool) -> None:
    """A floor that darkens towards the horizon, in slabs when it has ``tiles``."""
    rows, columns = canvas.height - horizon, canvas.width
    down = np.arange(rows, dtype=np.float32)[:, None] / np.float32(rows)
    grain = smooth_noise(stream, rows, columns, (rows // 2, columns // 2)) * np.float32(0.06)
    patches = smooth_noise(stream, rows, columns, (4, 14)) * np.float32(0.08)
    shade = np.float32(0.86) + np.float32(0.16) * down + grain + patches
    canvas.rgb[horizon:] = colour * shade[..., None]
    if tiles:
        edge, gap = 0.06, 0.10
        while edge < 1:
            y = horizon + edge * rows
            canvas.box(0, y, columns, y + max(1, rows * 0.012), colour * np.float32(0.72), strength=0.7)
            edge += gap
            gap *= 1.25
        slab = canvas.height * stream.uniform(0.12, 0.2)
        for k in range(int(columns / slab) + 1):
            canvas.box(k * slab, horizon, k * slab + 1, canvas.height, colour * np.float32(0.75), strength=0.5)


def _facade(canvas: Canvas, stream: Stream, horizon: int, shops: bool) -> None:
    """Buildings side by side with windows and doors; ``shops`` have wide bright windows and awnings."""
    unit, x = canvas.height, 0.0
    while x < canvas.width:
        wide = unit * stream.uniform(0.35, 0.8)
        wall = _mix(
            stream, (0.62, 0.55, 0.48), (0.55, 0.36, 0.3), (0.7, 0.69, 0.66), (0.45, 0.46, 0.5), (0.74, 0.66, 0.5)
        )
        canvas.box(x, 0, x + wide, horizon, wall, shade=0.1)
        pane = _mix(stream, (0.2, 0.24, 0.3), (0.32, 0.38, 0.44), (0.16, 0.16, 0.18))
        if shops:
            canvas.box(
                x + 0.05 * wide, horizon * 0.42, x + 0.62 * wide, horizon * 0.93, pane * np.float32(1.5), shade=0.3
            )
            for k in range(3):
                left = x + wide * (0.1 + 0.17 * k)
                goods = _mix(stream, (0.8, 0.3, 0.3), (0.85, 0.8, 0.5), (0.4, 0.6, 0.7), (0.9, 0.88, 0.84))
                canvas.box(left, horizon * 0.62, left + wide * 0.11, horizon * 0.9, goods, shade=0.2)
            awning = _mix(stream, (0.7, 0.2, 0.18), (0.16, 0.4, 0.3), (0.2, 0.28, 0.5), (0.85, 0.8, 0.7))
            canvas.box(x, horizon * 0.27, x + wide, horizon * 0.4, awning, shade=0.15)
        else:
            across, step = x + 0.06 * wide, wide / 3
            while across + step * 0.6 < x + wide:
                canvas.box(across, horizon * 0.12, across + step * 0.6, horizon * 0.5, pane, shade=0.25)
                canvas.box(across, horizon * 0.5, across + step * 0.6, horizon * 0.53, wall * np.float32(1.2))
                across += step
        door = _mix(stream, (0.3, 0.2, 0.14), (0.2, 0.3, 0.26), (0.4, 0.4, 0.42))
        canvas.box(x + 0.72 * wide, horizon * 0.45, x + 0.9 * wide, horizon, door, shade=0.2)
        x += wide


def _greenery(canvas: Canvas, stream: Stream, horizon: int) -> None:
    """Hedges and trees before a pale sky."""
    sky = np.asarray((0.7, 0.78, 0.86), dtype=np.float32)
    canvas.rgb[:horizon] = sky
    unit = canvas.height
    for _ in range(canvas.width * 90 // unit // 2):
        x, y = stream.uniform(0, canvas.width), horizon - unit * stream.uniform(0.0, 0.34)
        leaf = _mix(stream, (0.22, 0.36, 0.16), (0.3, 0.45, 0.2), (0.16, 0.28, 0.14))
        canvas.ellipse(x, y, unit * stream.uniform(0.03, 0.1), unit * stream.uniform(0.03, 0.08), leaf)
    for _ in range(canvas.width // unit * 3):
        x = stream.uniform(0, canvas.width)
        trunk = unit * stream.uniform(0.015, 0.035)
        canvas.box(x, 0, x + 2 * trunk, horizon * 1.04, _mix(stream, (0.3, 0.22, 0.16), (0.36, 0.32, 0.28)), shade=0.4)


def _panels(canvas: Canvas, stream: Stream, horizon: int) -> None:
    """A station's or a corridor's wall: panels, a bright stripe, posters."""
    wall = _mix(stream, (0.68, 0.7, 0.7), (0.6, 0.58, 0.52), (0.5, 0.56, 0.6))
    canvas.rgb[:horizon] = wall
    stripe = _mix(stream, (0.7, 0.25, 0.2), (0.2, 0.35, 0.6), (0.8, 0.65, 0.2))
    canvas.box(0, horizon * 0.55, canvas.width, horizon * 0.62, stripe)
    unit, x = canvas.height, 0.0
    while x < canvas.width:
        canvas.box(x, 0, x + max(1.0, unit * 0.008), horizon, wall * np.float32(0.7))
        if stream.chance(0.5):
            poster = _mix(stream, (0.8, 0.76, 0.5), (0.3, 0.5, 0.6), (0.75, 0.4, 0.35), (0.88, 0.88, 0.9))
            canvas.box(x + unit * 0.06, horizon * 0.2, x + unit * 0.22, horizon * 0.52, poster, shade=0.2)
            canvas.box(x + unit * 0.09, horizon * 0.25, x + unit * 0.19, horizon * 0.34, poster * np.float32(0.5))
        x += unit * 0.3


def _parked(canvas: Canvas, stream: Stream, horizon: int) -> None:
    """A row of parked cars."""
    unit, x = canvas.height, stream.uniform(0, 0.3) * canvas.height
    while x < canvas.width:
        paint = _mix(stream, (0.7, 0.7, 0.72), (0.2, 0.2, 0.24), (0.5, 0.16, 0.14), (0.2, 0.3, 0.5), (0.86, 0.86, 0.84))
        draw_car(canvas, x, horizon + unit * 0.05, unit * 0.55, paint)
        x += unit * stream.uniform(0.62, 1.0)


def draw_car(canvas: Canvas, x: float, ground: float, length: float, paint: np.ndarray) -> None:
    """A car seen from its side, its left end at ``x``, wheels on ``ground``, all in pixels."""
    tall = length * 0.34
    glass, rubber = (0.24, 0.3, 0.36), (0.07, 0.07, 0.08)
    canvas.shadow(x + length / 2, ground, length * 0.55, tall * 0.16, 0.6)
    canvas.ellipse(x + length * 0.5, ground - tall * 0.62, length * 0.34, tall * 0.42, paint)
    canvas.ellipse(x + length * 0.5, ground - tall * 0.66, length * 0.28, tall * 0.28, glass)
    canvas.box(x + length * 0.48, ground - tall, x + length * 0.52, ground - tall * 0.5, paint * np.float32(0.9))
    canvas.box(x + length * 0.02, ground - tall * 0.62, x + length * 0.98, ground - tall * 0.14, paint, shade=0.15)
    for share in (0.2, 0.8):
        canvas.ellipse(x + length * share, ground - tall * 0.14, tall * 0.2, tall * 0.2, rubber)
        canvas.ellipse(x + length * share, ground - tall * 0.14, tall * 0.09, tall * 0.09, (0.6, 0.6, 0.62))


@lru_cache(maxsize=8)
def panorama(scene: str, key: tuple[int, ...], height: int, width: int) -> np.ndarray:
    """The background of a camera for images of ``height x width``.

    Returns:
        uint8 ``[height * (1 + 2 * MARGIN), width * WIDTHS, 3]``.
    """
    stream = Stream(*key)
    canvas = Canvas(np.zeros((int(height * (1 + 2 * MARGIN)), width * WIDTHS, 3), dtype=np.float32))
    horizon = int(canvas.height * stream.uniform(0.42, 0.6))
    floor = {
        "street": (0.47, 0.47, 0.48),
        "lawn": (0.40, 0.50, 0.30),
        "shops": (0.54, 0.52, 0.50),
        "station": (0.55, 0.55, 0.56),
        "plaza": (0.58, 0.55, 0.51),
        "parking": (0.44, 0.44, 0.46),
    }[scene]
    if scene in ("street", "shops", "plaza"):
        _facade(canvas, stream, horizon, scene == "shops")
    elif scene == "station":
        _panels(canvas, stream, horizon)
    else:
        _greenery(canvas, stream, horizon)
    _ground(canvas, stream, horizon, _mix(stream, floor), scene in ("shops", "station", "plaza"))
    unit = canvas.height
    if scene == "street":
        kerb = horizon + unit * 0.1
        canvas.box(0, kerb, canvas.width, kerb + unit * 0.015, (0.7, 0.7, 0.68))
        canvas.box(0, horizon, canvas.width, kerb, (0.56, 0.54, 0.52), strength=0.8)
        for k in range(canvas.width // (unit // 2)):
            canvas.box(
                k * unit * 0.5, unit * 0.86, k * unit * 0.5 + unit * 0.22, unit * 0.88, (0.85, 0.85, 0.82), strength=0.8
            )
    elif scene == "lawn":
        canvas.box(0, unit * 0.68, canvas.width, unit * 0.9, (0.66, 0.6, 0.5), strength=0.85)
    elif scene == "parking":
        _parked(canvas, stream, horizon)
    # Streets are duller than clothes, and alike: the background must not tell more than the person.
    muted = (
        canvas.rgb[..., 0:1] * np.float32(0.3)
        + canvas.rgb[..., 1:2] * np.float32(0.6)
        + canvas.rgb[..., 2:3] * np.float32(0.1)
    )
    canvas.rgb = muted + (canvas.rgb - muted) * np.float32(0.55)
    canvas.rgb = np.float32(0.47) + (canvas.rgb - np.float32(0.47)) * np.float32(0.75)
    return (np.clip(canvas.rgb, 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
