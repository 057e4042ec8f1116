"""Images beside the parts that a model finds in them, and those of their masks."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from mdpr_fastreid.data.masks import legend, overlaid

_CELL, _GAP, _TOP = (64, 128), 4, 18
_INK, _PAPER = (40, 40, 40), (250, 250, 250)


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
        predicted = model.parts(images.to(model.device)).argmax(dim=1).byte().cpu().numpy()
    pictures = [Image.fromarray(image.byte().permute(1, 2, 0).cpu().numpy()) for image in images]
    pictures = [picture.resize(_CELL, Image.Resampling.BICUBIC) for picture in pictures]
    shown = {"image": pictures, "predicted": _overlaid(pictures, predicted)}
    if masks is not None:
        shown["true"] = _overlaid(pictures, masks.cpu().numpy())

    columns = min(columns, len(pictures))
    block, row = len(shown) * (_CELL[0] + _GAP) + 2 * _GAP, _CELL[1] + _GAP
    width, bottom = columns * block, _TOP + -(-len(pictures) // columns) * row
    font = ImageFont.load_default()
    names = legend(list(enumerate(parts, start=1)), width, font, _PAPER, _INK)
    sheet = Image.new("RGB", (width, bottom + names.height + _GAP), _PAPER)
    sheet.paste(names, (_GAP, bottom))
    draw = ImageDraw.Draw(sheet)
    for kind, (title, cells) in enumerate(shown.items()):
        for number, cell in enumerate(cells):
            left = number % columns * block + kind * (_CELL[0] + _GAP)
            if number < columns:
                draw.text((left + 2, 3), title, _INK, font)
            sheet.paste(cell, (left, _TOP + number // columns * row))
    return sheet


def _overlaid(pictures: Sequence[Image.Image], labels: np.ndarray) -> list[Image.Image]:
    return [overlaid(picture, of_picture) for picture, of_picture in zip(pictures, labels, strict=True)]
