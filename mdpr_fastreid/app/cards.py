"""Images as HTML that holds their pixels: the browser never asks for a file."""

import html
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from mdpr_fastreid.data.reading import DamagedImageError, read_image
from mdpr_fastreid.errors import printable
from mdpr_fastreid.pictures.canvas import CELL, fitted, photo
from mdpr_fastreid.pictures.inline import data_uri, encode
from mdpr_fastreid.pictures.overlay import overlay


def card(picture: Image.Image, lines: Sequence[str], label: str) -> str:
    """A picture with lines below it.

    Args:
        picture: any size.
        lines: the first is emphasised.
        label: for who cannot see it.
    """
    source = data_uri(encode(np.asarray(picture)), "image/jpeg")
    first, *rest = (html.escape(printable(line)) for line in lines)
    below = "".join(f"<div class='soft'>{line}</div>" for line in rest)
    return (
        f"<figure class='hit'><img src='{source}' alt='{html.escape(printable(label), quote=True)}'>"
        f"<figcaption><b>{first}</b>{below}</figcaption></figure>"
    )


def picture_of(path: str) -> Image.Image | None:
    """The picture of a file of the gallery; None if it cannot be read any more."""
    try:
        return read_image(path)
    except DamagedImageError:
        return None


def shown(picture: Image.Image | None, path: str, maps: Mapping[str, np.ndarray] | None, look: str) -> Image.Image:
    """A picture as it stands on the page: itself, or with one of the model's maps over it."""
    if picture is None:
        return photo(path)
    if not maps or look not in maps:
        return fitted(picture)
    stretched = picture.resize(CELL, Image.Resampling.LANCZOS)
    return Image.fromarray(overlay(np.asarray(stretched), maps[look]))
