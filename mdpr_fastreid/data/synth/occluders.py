"""What stands between camera and person: street furniture and vehicles. Other pedestrians are drawn as pedestrians."""

import numpy as np

from .canvas import Canvas
from .exact import Stream
from .scene import draw_car

OCCLUDERS = ("post", "bin", "railing", "bench", "sign", "planter", "car", "bicycle", "pedestrian", "pedestrian")

_PAINTS = (
    (0.3, 0.32, 0.34),
    (0.16, 0.3, 0.22),
    (0.56, 0.2, 0.16),
    (0.2, 0.28, 0.46),
    (0.62, 0.6, 0.56),
    (0.3, 0.22, 0.16),
)


def draw_furniture(canvas: Canvas, kind: str, stream: Stream, drift: float = 0.0) -> None:
    """Draw one occluder of :data:`OCCLUDERS` (all but ``pedestrian``) over what is on the canvas.

    Args:
        canvas: what is drawn on; covered pixels become background in its mask.
        kind: which.
        stream: for place, size and colour.
        drift: how far it has moved to the right, in pixels: the box follows a walking person, so furniture passes by.
    """
    height, width = canvas.height, canvas.width
    paint = np.asarray(stream.choice(_PAINTS), dtype=np.float32) * np.float32(stream.uniform(0.8, 1.3))
    x, top = width * stream.uniform(0.1, 0.75) + drift, height * stream.uniform(0.42, 0.66)
    if kind == "post":
        thick = width * stream.uniform(0.1, 0.2)
        canvas.box(x, -1, x + thick, height + 1, paint, shade=0.5)
    elif kind == "bin":
        wide = width * stream.uniform(0.35, 0.55)
        canvas.box(x - wide / 3, top, x + wide, height + 1, paint, shade=0.45)
        canvas.box(x - wide / 3 - 1, top - height * 0.02, x + wide + 1, top + height * 0.02, paint * np.float32(0.6))
    elif kind == "railing":
        canvas.box(-1, top, width + 1, top + height * 0.035, paint)
        canvas.box(-1, top + height * 0.2, width + 1, top + height * 0.225, paint)
        step = width * stream.uniform(0.14, 0.22)
        for k in range(-4, 12):
            canvas.box(x + (k - 3) * step, top, x + (k - 3) * step + width * 0.045, height + 1, paint, shade=0.3)
    elif kind == "bench":
        for row in range(3):
            low = top + height * (0.08 * row + 0.04)
            canvas.box(x - width * 0.6, low, x + width * 0.6, low + height * 0.055, paint, shade=0.15)
        for leg in (-0.5, 0.45):
            canvas.box(x + width * leg, top, x + width * (leg + 0.06), height + 1, paint * np.float32(0.5))
    elif kind == "sign":
        canvas.box(x + width * 0.16, top * 0.6, x + width * 0.22, height + 1, (0.5, 0.5, 0.52), shade=0.4)
        canvas.box(x, top * 0.4, x + width * 0.38, top * 0.4 + height * 0.24, paint * np.float32(1.5), shade=0.1)
        canvas.box(
            x + width * 0.06, top * 0.4 + height * 0.08, x + width * 0.32, top * 0.4 + height * 0.13, (0.9, 0.9, 0.88)
        )
    elif kind == "planter":
        for _ in range(14):
            leaf = np.asarray((0.2, 0.4, 0.16), dtype=np.float32) * np.float32(stream.uniform(0.7, 1.4))
            bx, by = x + width * stream.uniform(-0.3, 0.5), top + height * stream.uniform(0, 0.18)
            canvas.ellipse(bx, by, width * stream.uniform(0.06, 0.14), height * stream.uniform(0.03, 0.07), leaf)
        canvas.box(x - width * 0.3, top + height * 0.16, x + width * 0.5, height + 1, (0.52, 0.44, 0.38), shade=0.35)
    elif kind == "car":
        draw_car(canvas, x - width * stream.uniform(0.4, 1.6), height * 1.03, height * stream.uniform(1.0, 1.25), paint)
    else:
        _bicycle(canvas, x, top, paint)


def _bicycle(canvas: Canvas, x: float, top: float, paint: np.ndarray) -> None:
    height, width = canvas.height, canvas.width
    size = height * 0.13
    for centre in (x - width * 0.36, x + width * 0.36):
        canvas.ellipse(centre, height * 0.86, size, size, (0.1, 0.1, 0.1), rim=max(1.2, height * 0.014))
        canvas.ellipse(centre, height * 0.86, size * 0.12, size * 0.12, (0.5, 0.5, 0.5))
    canvas.box(x - width * 0.35, height * 0.72, x + width * 0.35, height * 0.745, paint)
    canvas.box(x - width * 0.12, height * 0.66, x - width * 0.08, height * 0.87, paint)
    canvas.box(x + width * 0.3, height * 0.6, x + width * 0.34, height * 0.87, paint)
    canvas.box(x - width * 0.2, height * 0.64, x, height * 0.665, (0.1, 0.1, 0.1))
