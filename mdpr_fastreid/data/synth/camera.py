"""A camera: from where it looks, how it sees light and colour, and what its sensor and encoder do to the picture."""

from dataclasses import dataclass

import numpy as np

from .canvas import Light
from .exact import PI, Stream, stretch
from .presets import Preset
from .scene import SCENES


@dataclass(frozen=True)
class Camera:
    """One fixed camera of a set.

    ``pitch`` is the sine of the angle it looks down, ``near`` the perspective (as of ``body.View``), ``heading`` the
    angle (radians) that people on its main path have to it, ``gains`` exposure times white balance for red, green and
    blue, ``lift`` the haze added to black, ``curve`` the bend of its tone curve, ``saturation`` a factor, ``noise``
    the amplitude of sensor noise (0 to 1 scale), ``resolution`` the share of lines that it resolves, ``quality`` that
    of its JPEG encoder.
    """

    number: int
    scene: str
    scene_seed: tuple[int, ...]
    pitch: float
    near: float
    heading: float
    light: Light
    gains: tuple[float, float, float]
    lift: float
    curve: float
    saturation: float
    noise: float
    resolution: float
    quality: int


def make_camera(seed: int, number: int, preset: Preset) -> Camera:
    """Camera ``number`` (from 0) of a set; the same cameras look at the identities of training and of testing."""
    stream = Stream(seed, 10, number)
    shift, sensor = preset.illumination, preset.sensor
    exposure = 1 + shift * stream.uniform(-0.45, 0.45)
    warmth, tint = shift * stream.bell(0, 0.45), shift * stream.bell(0, 0.22)
    return Camera(
        number=number,
        scene=SCENES[(seed + number) % len(SCENES)],
        scene_seed=(seed, 11, number),
        pitch=stream.uniform(0.08, 0.36),
        near=stream.uniform(0.04, 0.26),
        heading=stream.below(8) * PI / 4,
        light=Light(shift * stream.uniform(-0.9, 0.9), stream.uniform(0.75, 1.0), stream.uniform(0.42, 0.6)),
        gains=(exposure * (1 + warmth), exposure * (1 + tint), exposure * (1 - warmth)),
        lift=shift * stream.uniform(0, 0.14),
        curve=shift * stream.uniform(-0.6, 0.7),
        saturation=1 - shift * stream.uniform(-0.25, 0.7),
        noise=sensor * stream.uniform(0.01, 0.09),
        resolution=1 - sensor * stream.uniform(0.05, 0.9),
        quality=int(95 - sensor * stream.uniform(5, 80)),
    )


def neutral(camera: Camera) -> Camera:
    """The same camera with an ideal sensor: no shift of light or colour, no noise, blur or strong compression."""
    return Camera(
        **{
            **vars(camera),
            "gains": (1.0, 1.0, 1.0),
            "lift": 0.0,
            "curve": 0.0,
            "saturation": 1.0,
            "noise": 0.0,
            "resolution": 1.0,
            "quality": 95,
        }
    )


def _soften(rgb: np.ndarray, streak: bool) -> np.ndarray:
    """A 1-2-1 blur downwards and across, or (``streak``) five pixels across: motion."""
    padded = np.concatenate([rgb[:, :1], rgb[:, :1], rgb, rgb[:, -1:], rgb[:, -1:]], axis=1)
    if streak:
        total = padded[:, :-4] + padded[:, 1:-3]
        total += padded[:, 2:-2]
        total += padded[:, 3:-1]
        total += padded[:, 4:]
        return total * np.float32(0.2)
    across = padded[:, 1:-3] * np.float32(0.25) + padded[:, 2:-2] * np.float32(0.5) + padded[:, 3:-1] * np.float32(0.25)
    padded = np.concatenate([across[:1], across, across[-1:]])
    return padded[:-2] * np.float32(0.25) + padded[1:-1] * np.float32(0.5) + padded[2:] * np.float32(0.25)


def expose(rgb: np.ndarray, camera: Camera, brightness: float, streak: bool, stream: Stream) -> np.ndarray:
    """What the camera makes of the light that reaches it.

    Args:
        rgb: float32 ``[H, W, 3]``, 0 to 1.
        camera: whose colours and sensor to use.
        brightness: light of the moment, 1 being usual.
        streak: whether the person's movement is blurred.
        stream: for the noise.

    Returns:
        uint8 ``[H, W, 3]``.
    """
    height, width = rgb.shape[:2]
    if camera.resolution < 0.99:
        lines, columns = max(8, int(height * camera.resolution)), max(4, int(width * camera.resolution))
        if camera.resolution < 0.75:
            rgb = _soften(rgb, False)
        rgb = stretch(stretch(rgb, lines, columns), height, width)
    if streak:
        rgb = _soften(rgb, True)
    rgb = rgb * (np.asarray(camera.gains, dtype=np.float32) * np.float32(brightness))
    grey = (rgb[..., 0:1] + rgb[..., 1:2] + rgb[..., 2:3]) * np.float32(1 / 3)
    rgb = grey + (rgb - grey) * np.float32(camera.saturation)
    np.minimum(np.maximum(rgb, 0, out=rgb), 1, out=rgb)
    if camera.curve:
        rgb += rgb * (1 - rgb) * np.float32(camera.curve)
    rgb = rgb * np.float32(1 - camera.lift) + np.float32(camera.lift)
    if camera.noise:
        octets = stream.octets(rgb.size * 2).reshape(2, *rgb.shape)
        grain = octets[0].astype(np.float32) + octets[1]
        rgb += (grain - np.float32(255)) * np.float32(camera.noise / 255)
    return (np.minimum(np.maximum(rgb, 0), 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
