"""What clothes, head and bags look like when unrolled: the patterns, prints and hair that identities wear.

A texture is ``float32 [T, A, 3]``: T runs down the part, A around it. The angle is 0 at the front (the middle column),
positive towards the person's left, and half a turn at the back (both edges).
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .canvas import FACE, HAIR
from .exact import PI, Stream, smooth_noise
from .identity import HAIRS, PALETTE, SKINS, Identity

FOLD_MAPS = 12


class Wardrobe(NamedTuple):
    """All textures of one identity at one resolution; ``skin``, ``hair``, ``hat`` and ``shoe`` are colours ``[3]``.

    ``head_parts [T, A]`` says where the head is hair or hat.
    """

    torso: np.ndarray
    sleeve: np.ndarray
    lower: np.ndarray
    skin: np.ndarray
    head: np.ndarray
    head_parts: np.ndarray
    hair: np.ndarray
    hat: np.ndarray
    shoe: np.ndarray
    bag: np.ndarray
    backpack: np.ndarray


def texture_shape(height: int) -> tuple[int, int]:
    """Rows and columns of the textures for images of ``height`` pixels: about a texel a pixel."""
    return max(16, height * 7 // 16), max(32, height * 3 // 4)


def rgb(colour: str) -> np.ndarray:
    """A palette colour as ``float32 [3]`` in 0 to 1."""
    return np.asarray(PALETTE[colour], dtype=np.float32) / np.float32(255)


def _grid(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    down = (np.arange(rows, dtype=np.float32)[:, None] + np.float32(0.5)) / np.float32(rows)
    angle = (
        ((np.arange(columns, dtype=np.float32)[None] + np.float32(0.5)) / np.float32(columns) - np.float32(0.5))
        * 2
        * PI
    )
    return down, angle.astype(np.float32)


def _halved(fine: np.ndarray) -> np.ndarray:
    """Average 2x2 texels: prints get soft edges."""
    return (fine[::2, ::2] + fine[1::2, ::2] + fine[::2, 1::2] + fine[1::2, 1::2]) * np.float32(0.25)


def _plain(shape: tuple[int, int], colour: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.broadcast_to(colour, (*shape, 3)))


def _band(values: np.ndarray, times: float, share: float) -> np.ndarray:
    scaled = values * np.float32(times)
    return scaled - np.floor(scaled) < share


def _pattern(pattern: str, first: np.ndarray, second: np.ndarray, down: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """The cloth of a garment ``[T, A, 3]``; ``down`` is in units of a shirt's length."""
    weight = np.zeros(np.broadcast_shapes(down.shape, angle.shape), dtype=np.float32)
    around = angle / np.float32(2 * PI)
    if pattern == "stripes":
        weight += _band(down, 6, 0.42)
    elif pattern == "checks":
        weight += np.float32(0.5) * _band(down, 5, 0.5) + np.float32(0.5) * _band(around, 9, 0.5)
    elif pattern == "gradient":
        weight += np.clip(down * np.float32(1.3) - np.float32(0.15), 0, 1)
    elif pattern == "yoke":
        weight += down < 0.36
    elif pattern == "dots":
        u, v = around * np.float32(12), down * np.float32(8)
        u, v = u - np.floor(u) - np.float32(0.5), v - np.floor(v) - np.float32(0.5)
        weight += u * u + v * v < 0.09
    return first + weight[..., None] * (second - first)


def _shape(kind: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Where a print of extent -1 to 1 has ink."""
    inside = (np.abs(u) < 1) & (np.abs(v) < 1)
    if kind == "disc":
        return u * u + v * v < 1
    if kind in ("bar", "band"):
        return inside & (np.abs(v) < 0.55)
    if kind == "chevron":
        return inside & (np.abs(v - np.abs(u) + 0.4) < 0.45)
    if kind == "cross":
        return inside & ((np.abs(u) < 0.35) | (np.abs(v) < 0.35))
    return inside


def _cut_details(cloth: np.ndarray, who: Identity, down: np.ndarray, angle: np.ndarray) -> None:
    """Collar, zip, hood and the shirt under an open jacket, drawn into the torso's cloth."""
    front = np.abs(angle)
    if who.upper_cut in ("jacket", "coat"):
        opening = (front < 0.30 - 0.26 * down) if who.upper_cut == "jacket" else (front < 0.26 - 0.8 * down)
        cloth[opening] = rgb("white") if who.upper_colour not in ("white", "silver") else rgb("charcoal")
        cloth[(front < 0.05) & ~opening] *= np.float32(0.6)
    elif who.upper_cut == "shirt":
        cloth[np.broadcast_to(front < 0.07, cloth.shape[:2])] *= np.float32(0.8)
    elif who.upper_cut == "hoodie":
        cloth[(front < 0.75) & (down > 0.62) & (down < 0.86)] *= np.float32(0.86)
        cloth[(front > 2.1) & (down < 0.2)] *= np.float32(0.72)
    neckline = {"t-shirt": 0.10, "shirt": 0.13, "jacket": 0.12, "hoodie": 0.06, "coat": 0.12}[who.upper_cut]
    skin = np.asarray(SKINS[who.skin], dtype=np.float32) / np.float32(255)
    cloth[(down < neckline * (1 - front / 0.8)) & (front < 0.8)] = skin
    cloth[np.broadcast_to(down > 0.965, cloth.shape[:2])] *= np.float32(0.75)


def _torso(who: Identity, rows: int, columns: int, length: float) -> np.ndarray:
    down, angle = _grid(2 * rows, 2 * columns)
    # The texture covers the garment, which in a coat is longer: prints keep their size and place on the chest.
    chest = down * np.float32(length)
    cloth = _pattern(who.upper_pattern, rgb(who.upper_colour), rgb(who.upper_second), chest, angle)
    _cut_details(cloth, who, down, angle)
    behind = np.where(angle > 0, angle - np.float32(PI), angle + np.float32(PI))
    if who.logo:
        ink = _shape(
            who.logo, (angle - np.float32(0.12)) / np.float32(0.62), (chest - np.float32(0.36)) / np.float32(0.13)
        )
        cloth[ink] = rgb(who.logo_colour)
    if who.back_print:
        ink = _shape(who.back_print, behind / np.float32(0.8), (chest - np.float32(0.4)) / np.float32(0.19))
        cloth[ink] = rgb(who.back_colour)
    if who.backpack:
        strap = (np.abs(np.abs(angle) - np.float32(0.72)) < 0.11) & (chest < 0.52)
        cloth[strap] = np.float32(0.16)
    if who.bag == "shoulder":
        # From the far shoulder in front and behind down to the hip where the bag hangs.
        sign = np.float32(1 if who.bag_side == "left" else -1)
        slope = (np.float32(1.9) * chest - np.float32(0.95)) * sign
        cloth[(np.abs(angle - slope) < 0.1) | (np.abs(behind + slope) < 0.1)] = rgb(who.bag_colour) * np.float32(0.7)
    return _halved(cloth)


def _head(who: Identity, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Face, hair and hat on the head's egg, and which texel is which."""
    down, angle = _grid(rows, columns)
    front = np.abs(angle)
    skin = np.asarray(SKINS[who.skin], dtype=np.float32) / np.float32(255)
    colours = _plain((rows, columns), skin)
    reach = {"short": 0.74, "bun": 0.78, "ponytail": 0.78, "long": 0.97, "bald": 0.0}[who.hair_style]
    cap = 0.0 if who.hair_style == "bald" else 0.26
    hair = (down < cap) | ((front > 1.25) & (down < reach)) | ((front > 0.98) & (down < reach * 0.55))
    colours[(front < 0.62) & (front > 0.2) & (down > 0.44) & (down < 0.52)] *= np.float32(0.42)
    colours[(front < 0.26) & (down > 0.73) & (down < 0.78)] *= np.float32(0.7)
    colours[np.broadcast_to(down > 0.9, (rows, columns))] *= np.float32(0.85)
    colours[hair] = np.asarray(HAIRS[who.hair_colour], dtype=np.float32) / np.float32(255)
    if who.hat:
        brim = 0.36 if who.hat == "cap" else 0.4
        covered = np.broadcast_to(down < brim, hair.shape)
        colours[covered] = rgb(who.hat_colour)
        rim = (down > brim - 0.08) & (down < brim)
        colours[np.broadcast_to(rim, hair.shape)] *= np.float32(0.7)
        hair = hair | covered
    return colours, np.where(hair, np.uint8(HAIR), np.uint8(FACE))


def _lower(who: Identity, rows: int, columns: int) -> np.ndarray:
    """Cloth of one leg (or the skirt); the outer seam is at a quarter turn on both sides."""
    down, angle = _grid(2 * rows, 2 * columns)
    cloth = _plain((2 * rows, 2 * columns), rgb(who.lower_colour))
    seam = np.abs(np.abs(angle) - np.float32(PI / 2))
    if who.side_stripe:
        cloth[np.broadcast_to(seam < 0.42, cloth.shape[:2])] = rgb(who.side_stripe)
    cloth *= (np.float32(1) - np.float32(0.1) * down)[..., None]
    return _halved(cloth)


def torso_length(who: Identity) -> float:
    """Length of the upper garment in shirts."""
    return 1.55 if who.upper_cut == "coat" else 1.0


def wardrobe(who: Identity, height: int) -> Wardrobe:
    """The textures of ``who`` for images ``height`` pixels tall."""
    rows, columns = shape = texture_shape(height)
    head, head_parts = _head(who, rows, columns)
    down, angle = _grid(rows, columns)
    pattern = who.upper_pattern if who.upper_pattern in ("plain", "stripes", "checks", "dots") else "plain"
    sleeve_colour = rgb(who.upper_second if who.upper_pattern == "yoke" else who.upper_colour)
    sleeve = _pattern(pattern, sleeve_colour, rgb(who.upper_second), down * np.float32(0.5), angle)
    pack = _plain(shape, rgb(who.backpack or "black"))
    pack[np.broadcast_to((down > 0.5) & (down < 0.56), shape)] *= np.float32(0.55)
    bag = _plain(shape, rgb(who.bag_colour))
    bag[np.broadcast_to(down < 0.22, shape)] *= np.float32(0.7)
    return Wardrobe(
        torso=_torso(who, rows, columns, torso_length(who)),
        sleeve=sleeve,
        lower=_lower(who, rows, columns),
        skin=np.asarray(SKINS[who.skin], dtype=np.float32) / np.float32(255),
        head=head,
        head_parts=head_parts,
        hair=np.asarray(HAIRS[who.hair_colour], dtype=np.float32) / np.float32(255),
        hat=rgb(who.hat_colour),
        shoe=rgb(who.shoes),
        bag=bag,
        backpack=pack,
    )


@lru_cache(maxsize=4)
def fold_maps(height: int) -> tuple[np.ndarray, ...]:
    """Creases of cloth, ``[T, A]`` each, around 1. They belong to the moment, not to the identity."""
    rows, columns = texture_shape(height)
    maps = []
    for number in range(FOLD_MAPS):
        stream = Stream(7, number)
        coarse = smooth_noise(stream, rows, columns, (4, 6))
        fine = smooth_noise(stream, rows, columns, (10, 14))
        crease = np.abs(smooth_noise(stream, rows, columns, (7, 5)))
        maps.append(np.float32(0.94) + np.float32(0.10) * coarse + np.float32(0.06) * fine + np.float32(0.12) * crease)
    return tuple(maps)


def garment_colours(who: Identity) -> dict[str, list[int]]:
    """Mean colour of the upper garment, the lower one and the shoes before any light or camera, RGB 0 to 255."""
    clothes = wardrobe(who, 128)
    means = {}
    for name, texture in (("upper", clothes.torso), ("lower", clothes.lower), ("shoes", clothes.shoe)):
        # Integers add up to the same whatever the order.
        levels = (texture.reshape(-1, 3) * np.float32(255) + np.float32(0.5)).astype(np.int64)
        means[name] = [int(level) for level in levels.sum(axis=0) // len(levels)]
    return means
