"""One image: an identity before a camera at a moment, and the mask that belongs to it."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .body import Pose, View, figure
from .camera import Camera, expose
from .canvas import Canvas
from .exact import PI, Stream, cosine, sine
from .identity import STRANGER, Identity, make_identity
from .occluders import OCCLUDERS, draw_furniture
from .presets import Preset
from .scene import MARGIN, WIDTHS, panorama
from .texture import FOLD_MAPS, Wardrobe, fold_maps, wardrobe

STRANGERS = 200
"""How many other pedestrians there are."""


class Picture(NamedTuple):
    """``rgb`` uint8 ``[H, W, 3]`` and ``parts`` uint8 ``[H, W]`` with the values of ``canvas.PARTS``."""

    rgb: np.ndarray
    parts: np.ndarray


@dataclass(frozen=True)
class Moment:
    """All that changes from one image of an identity to the next; lengths are shares of the image's height.

    ``turn`` is in radians from facing the camera; ``box_scale`` how tall the person is in the box, ``box_x`` and
    ``box_y`` how far from its place; ``stroll`` how far the person has walked since the first frame; ``occluder`` is
    "" without one. ``scenery`` seeds what stays the same during a walk, ``key`` what does not.
    """

    key: tuple[int, ...]
    scenery: tuple[int, ...]
    turn: float
    phase: float
    swing: float
    elbows: tuple[float, float]
    box_scale: float
    box_x: float
    box_y: float
    place: float
    brightness: float
    shadow: float
    streak: bool
    occluder: str
    behind: bool
    stroll: float = 0.0


def make_moment(
    key: tuple[int, ...], preset: Preset, camera: Camera, occlusion: float, wild_box: bool = False
) -> Moment:
    """Draw a moment.

    Args:
        key: seeds everything.
        preset: its difficulties.
        camera: whose paths people walk on.
        occlusion: probability of an occluder.
        wild_box: whether the box misses most of the person, as in Market-1501's junk images.
    """
    stream = Stream(*key)
    turn = 0.0
    on_path, side, anywhere = stream.chance(0.5), stream.below(2) * PI, stream.below(8) * PI / 4
    if stream.chance(preset.viewpoint):
        turn = camera.heading + side if on_path else anywhere
        turn += stream.bell(0, 0.45)
    error = preset.box_error
    scale, dx, dy = 1.0 + error * stream.bell(0, 0.3), error * stream.bell(0, 0.16), error * stream.bell(0, 0.16)
    if wild_box:
        scale, dx, dy = (
            stream.uniform(1.4, 2.2),
            stream.uniform(-0.24, 0.24),
            stream.choice((-1, 1)) * stream.uniform(0.3, 0.6),
        )
    standing = stream.chance(0.2)
    bent = [1.3 + stream.uniform(0, 0.8) if stream.chance(0.1) else stream.uniform(0.1, 0.6) for _ in range(2)]
    return Moment(
        key=key,
        scenery=key,
        turn=turn,
        phase=stream.uniform(),
        swing=stream.uniform(0.03, 0.1) if standing else stream.uniform(0.25, 0.5),
        elbows=(bent[0], bent[1]),
        box_scale=scale,
        box_x=dx,
        box_y=dy,
        place=stream.uniform(),
        brightness=1 + preset.illumination * stream.bell(0, 0.5),
        shadow=preset.illumination * stream.uniform(0, 0.5) if stream.chance(0.3) else 0.0,
        streak=stream.chance(preset.sensor * 0.2),
        occluder=stream.choice(OCCLUDERS) if stream.chance(occlusion) else "",
        behind=stream.chance(preset.crowd),
    )


def walk(first: Moment, frames: int) -> list[Moment]:
    """The moments of a short walk that begins with ``first``, a sixth of a step apart."""
    moments = []
    for frame in range(frames):
        jitter = Stream(*first.key, 77, frame)
        moments.append(
            replace(
                first,
                key=(*first.key, frame),
                phase=first.phase + frame / 12,
                swing=max(first.swing, 0.25),
                turn=first.turn + frame * 0.02,
                box_x=first.box_x + jitter.bell(0, 0.02),
                box_y=first.box_y + jitter.bell(0, 0.02),
                stroll=frame * 0.05,
            )
        )
    return moments


@lru_cache(maxsize=48)
def _dressed(who: Identity, height: int) -> Wardrobe:
    return wardrobe(who, height)


def _background(camera: Camera, moment: Moment, height: int, width: int) -> np.ndarray:
    wide = panorama(camera.scene, camera.scene_seed, height, width)
    drift = moment.place * width * (WIDTHS - 1) + moment.stroll * height * sine(moment.turn)
    left = int(min(max(drift, 0), width * (WIDTHS - 1)))
    top = int(height * MARGIN * (1 + moment.box_y * 2))
    top = min(max(top, 0), wide.shape[0] - height)
    return wide[top : top + height, left : left + width].astype(np.float32) * np.float32(1 / 255)


def _person(canvas: Canvas, who: Identity, camera: Camera, pose: Pose, view: View, fold: int, hidden: bool) -> None:
    ground = view.scale * 0.16
    canvas.shadow(view.x + camera.light.side * ground * 0.6, view.y, ground, ground * 0.3, 0.55)
    folds = fold_maps(canvas.height)
    for number, tube in enumerate(figure(who, _dressed(who, canvas.height), pose, view)):
        canvas.tube(tube, camera.light, folds[(fold + number) % FOLD_MAPS], hidden)


def _stranger(canvas: Canvas, seed: int, stream: Stream, camera: Camera, in_front: bool, drift: float) -> None:
    """Another pedestrian, smaller behind the person or larger and lower in front."""
    who = make_identity(seed, STRANGER, stream.below(STRANGERS), STRANGERS, 1)
    size = stream.uniform(1.0, 1.25) if in_front else stream.uniform(0.6, 0.9)
    side = stream.choice((-1, 1)) * stream.uniform(0.14, 0.3)
    view = View(
        turn=stream.below(8) * PI / 4 + stream.bell(0, 0.4),
        pitch=camera.pitch,
        near=camera.near,
        scale=canvas.height * size,
        x=canvas.width / 2 + side * canvas.height + drift,
        y=canvas.height * (stream.uniform(1.1, 1.35) if in_front else stream.uniform(0.74, 0.86)),
    )
    pose = Pose(stream.uniform(), stream.uniform(0.05, 0.45), 0.3, 0.3)
    _person(canvas, who, camera, pose, view, stream.below(FOLD_MAPS), hidden=True)


def shoot(seed: int, who: Identity | None, camera: Camera, moment: Moment, size: tuple[int, int]) -> Picture:
    """Render one image and its mask.

    Args:
        seed: of the set, for the strangers in it.
        who: the identity; None renders the place without it, a detector's false alarm.
        camera: which camera.
        moment: from :func:`make_moment` or :func:`walk`.
        size: height and width in pixels.
    """
    height, width = size
    stream = Stream(*moment.key, 5)
    scenery = Stream(*moment.scenery, 6)
    canvas = Canvas(_background(camera, moment, height, width))
    drift = -moment.stroll * height * sine(moment.turn)
    if moment.behind:
        _stranger(canvas, seed, scenery, camera, False, drift)
    tall = height * moment.box_scale
    if who is not None:
        view = View(
            turn=moment.turn,
            pitch=camera.pitch,
            near=camera.near,
            scale=tall * 0.93 / (1 + camera.near / 2),
            x=width * 0.5 + moment.box_x * height,
            y=height * 0.5 + tall * 0.44 + moment.box_y * height,
        )
        pose = Pose(moment.phase, moment.swing * who.stride, *moment.elbows)
        _person(canvas, who, camera, pose, view, stream.below(FOLD_MAPS), hidden=False)
    if moment.occluder == "pedestrian":
        _stranger(canvas, seed, scenery, camera, True, drift)
    elif moment.occluder:
        draw_furniture(canvas, moment.occluder, scenery, drift)
    if moment.shadow:
        edge = width * scenery.uniform(0.2, 0.8) + drift
        slope = np.float32(cosine(scenery.uniform(0, PI)) * 0.5)
        across = np.arange(width, dtype=np.float32) - np.float32(edge)
        lit = across[None] + slope * (np.arange(height, dtype=np.float32)[:, None] - np.float32(height / 2)) > 0
        canvas.rgb *= (np.float32(1) - np.float32(moment.shadow) * lit)[..., None]
    rgb = expose(canvas.rgb, camera, moment.brightness, moment.streak, stream)
    return Picture(rgb, canvas.parts)
