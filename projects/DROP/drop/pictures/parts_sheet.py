"""Images beside the parts that a model finds in them, and those of their masks."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn

_CELL, _GAP, _TOP = (64, 128), 4, 18
_INK, _PAPER = (40, 40, 40), (250, 250, 250)
_OPACITY = 0.6
_UNKNOWN = (200, 200, 200)


def parts_sheet(
    model: nn.Module, images: torch.Tensor, masks: torch.Tensor | None, parts: Sequence[str], columns: int = 4
) -> Image.Image:
    """A picture of each image, the parts predicted in it, and the true ones.

    Args:
        model: has ``parts(images)`` -> ``[B, K + 1, h, w]``.
        images: ``[B, 3, H, W]``, RGB, 0 to 255.
        masks: ``[B, H, W]``, 0 for background, 255 where nothing is known; None without masks.
        parts: names of the ``K`` parts.
        columns: images in a row.
    """
    model.eval()
    with torch.no_grad():
        predicted = model.parts(images.to(model.device)).argmax(dim=1).cpu()
    colours = part_colours(len(parts))
    kinds = [None, predicted, *([] if masks is None else [masks])]
    titles = ("image", "predicted", "true")[: len(kinds)]
    block = len(kinds) * (_CELL[0] + _GAP) + 2 * _GAP
    rows = -(-len(images) // columns)
    legend = _TOP * (1 + len(parts) // 6)
    size = (min(columns, len(images)) * block, _TOP + rows * (_CELL[1] + _GAP) + legend + _GAP)
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    for column in range(min(columns, len(images))):
        for kind, title in enumerate(titles):
            draw.text((column * block + kind * (_CELL[0] + _GAP) + 2, 3), title, _INK)
    for number, image in enumerate(images):
        left, top = number % columns * block, _TOP + number // columns * (_CELL[1] + _GAP)
        pixels = image.permute(1, 2, 0).clamp(0, 255).byte().cpu().numpy()
        picture = Image.fromarray(pixels).resize(_CELL, Image.Resampling.BICUBIC)
        for kind, labels in enumerate(kinds):
            cell = picture if labels is None else overlay(picture, labels[number].numpy(), colours)
            sheet.paste(cell, (left + kind * (_CELL[0] + _GAP), top))
    _draw_legend(draw, parts, colours, size[1] - legend)
    return sheet


def part_colours(parts: int) -> np.ndarray:
    """``[parts, 3]`` in 0 to 255, far from each other."""
    import matplotlib

    return np.array([matplotlib.colormaps["tab10"](k % 10)[:3] for k in range(parts)]) * 255


def overlay(picture: Image.Image, labels: np.ndarray, colours: np.ndarray) -> Image.Image:
    """A picture, paler, with its parts in colours; grey where nothing is known.

    Args:
        picture: of any size.
        labels: ``[h, w]``, 0 for background, 255 where nothing is known.
        colours: ``[K, 3]`` in 0 to 255.
    """
    grown = Image.fromarray(labels.astype(np.uint8)).resize(picture.size, Image.Resampling.NEAREST)
    classes, pixels = np.asarray(grown), np.asarray(picture).astype(np.float64)
    table = np.full((256, 3), _UNKNOWN, dtype=np.float64)
    table[1 : len(colours) + 1] = colours
    marked = (1 - _OPACITY) * pixels + _OPACITY * table[classes]
    return Image.fromarray(np.where(classes[..., None] == 0, pixels, marked).round().astype(np.uint8))


def _draw_legend(draw: ImageDraw.ImageDraw, parts: Sequence[str], colours: np.ndarray, top: int) -> None:
    left = _GAP
    for name, colour in zip(parts, colours, strict=True):
        width = 18 + int(draw.textlength(name)) + 10
        if left + width > draw.im.size[0]:
            left, top = _GAP, top + _TOP
        draw.rectangle((left, top + 3, left + 11, top + 14), fill=tuple(int(value) for value in colour))
        draw.text((left + 16, top + 2), name, _INK)
        left += width
