"""The articulated body: from an identity, a walking phase and a viewpoint to tubes on the screen."""

from functools import lru_cache
from math import sqrt
from typing import NamedTuple

import numpy as np

from .canvas import ARMS, BAG, FACE, HAIR, LEGS, LOWER, SHOES, UPPER, Tube
from .exact import cosine, piecewise, sine
from .identity import Identity
from .texture import Wardrobe, torso_length

SAMPLES = 64

# Segment lengths and joint heights as shares of the body's height.
HIP, SHOULDER, CHIN, THIGH, SHANK, UPPER_ARM, FOREARM = 0.515, 0.815, 0.865, 0.245, 0.235, 0.165, 0.155
HEAD_TALL, HEAD_WIDE, HEAD_DEEP = 0.142, 0.052, 0.062
Point = tuple[float, float, float]


class Pose(NamedTuple):
    """A moment of walking: ``phase`` in turns, ``swing`` of the thigh in radians, bent elbows in radians."""

    phase: float
    swing: float
    left_elbow: float
    right_elbow: float


class View(NamedTuple):
    """How the person is seen.

    ``turn``: angle in radians from facing the camera, positive towards the right of the picture; ``pitch``: sine of
    the angle that the camera looks down; ``near``: how much larger the head is than the feet; ``scale``: pixels per
    body height; ``x``, ``y``: where the feet stand, in pixels.
    """

    turn: float
    pitch: float
    near: float
    scale: float
    x: float
    y: float


class _Eye:
    """Projects points of the body: x to the person's left, y up, z ahead, in body heights."""

    def __init__(self, view: View):
        self.view = view
        self.cos, self.sin = cosine(view.turn), sine(view.turn)
        self.upright = sqrt(1 - view.pitch * view.pitch)

    def size(self, height: float) -> float:
        """Pixels per unit at a height above ground."""
        return self.view.scale * (1 + self.view.near * (height - 0.5))

    def depth(self, point: Point) -> float:
        """How much nearer than the body's axis."""
        return point[2] * self.cos - point[0] * self.sin

    def screen(self, point: Point) -> tuple[float, float]:
        size = self.size(point[1])
        across = point[0] * self.cos + point[2] * self.sin
        down = self.depth(point) * self.view.pitch - point[1] * self.upright
        return self.view.x + across * size, self.view.y + down * size

    def width(self, wide: np.ndarray, deep: np.ndarray, height: float) -> np.ndarray:
        """Half width on the screen of elliptic sections ``wide`` by ``deep``."""
        across, along = wide * np.float32(self.cos), deep * np.float32(self.sin)
        return np.sqrt(across * across + along * along) * np.float32(self.size(height))


@lru_cache(maxsize=64)
def _outline(kind: str) -> np.ndarray:
    """Half widths from top to bottom as a share of the widest."""
    points = {
        "egg": [
            (0, 0.2),
            (0.05, 0.55),
            (0.15, 0.82),
            (0.3, 0.98),
            (0.45, 1),
            (0.65, 0.93),
            (0.82, 0.72),
            (0.94, 0.48),
            (1, 0.3),
        ],
        "torso": [
            (0, 0.26),
            (0.04, 0.36),
            (0.07, 0.56),
            (0.11, 0.76),
            (0.16, 0.89),
            (0.24, 0.93),
            (0.4, 0.91),
            (0.62, 0.82),
            (0.8, 0.83),
            (1, 0.9),
        ],
        "torso deep": [(0, 0.5), (0.1, 0.75), (0.25, 1), (0.45, 0.98), (0.6, 0.9), (1, 0.98)],
        "coat": [
            (0, 0.26),
            (0.026, 0.36),
            (0.045, 0.56),
            (0.07, 0.76),
            (0.1, 0.89),
            (0.16, 0.93),
            (0.26, 0.91),
            (0.4, 0.84),
            (0.6, 0.9),
            (1, 1.06),
        ],
        "skirt": [(0, 0.8), (0.25, 0.98), (1, 1.25)],
        "pack": [(0, 0.55), (0.06, 0.85), (0.15, 1), (0.9, 1), (0.97, 0.9), (1, 0.75)],
        "handbag": [(0, 0.12), (0.24, 0.16), (0.27, 0.8), (0.32, 0.92), (0.95, 1), (1, 0.9)],
        "satchel": [(0, 0.85), (0.08, 1), (0.92, 1), (1, 0.85)],
        "long hair": [(0, 0.7), (0.1, 0.95), (0.6, 1), (0.9, 0.85), (1, 0.6)],
        "ponytail": [(0, 0.6), (0.2, 1), (0.7, 0.8), (1, 0.3)],
        "round": [(0, 0.2), (0.08, 0.55), (0.2, 0.8), (0.5, 1), (0.8, 0.8), (0.92, 0.55), (1, 0.2)],
        "brim": [(0, 0.9), (0.5, 1), (1, 0.9)],
    }[kind]
    return piecewise(points, SAMPLES)


class _Figure:
    """Collects the tubes of one person."""

    def __init__(self, who: Identity, clothes: Wardrobe, pose: Pose, view: View):
        self.who, self.clothes, self.pose, self.eye = who, clothes, pose, _Eye(view)
        self.tubes: list[Tube] = []
        self.turn = view.turn
        # Boxes fit the person, so height shows in proportions: short people are wider and have larger heads for it.
        self.short = 1.7 / who.height
        self.shoulder_wide = 0.118 * who.shoulders * (0.6 + 0.4 * who.build) * self.short
        self.hip_wide = 0.088 * who.build * self.short
        self.deep = 0.066 * who.build * self.short

    def limb(
        self, start: Point, end: Point, r0: float, r1: float, texture, parts, layer: float, lean: float = 0.0
    ) -> None:
        """A limb with round ends; its depth is that of its middle, moved by ``lean``, within ``layer``."""
        eye = self.eye
        (ax, ay), (bx, by) = eye.screen(start), eye.screen(end)
        first, last = r0 * eye.size(start[1]), r1 * eye.size(end[1])
        dx, dy = bx - ax, by - ay
        length = max(sqrt(dx * dx + dy * dy), 0.01)
        ux, uy = dx / length, dy / length
        whole = length + first + last
        at = (np.arange(SAMPLES, dtype=np.float32) + np.float32(0.5)) * np.float32(whole / SAMPLES)
        radii = np.float32(first) + np.clip((at - np.float32(first)) / np.float32(length), 0, 1) * np.float32(
            last - first
        )
        before, after = np.maximum(np.float32(first) - at, 0), np.maximum(at - np.float32(first + length), 0)
        over = before / np.float32(first) + after / np.float32(last)
        radii *= np.sqrt(np.maximum(np.float32(1) - over * over, 0))
        depth = (eye.depth(start) + eye.depth(end)) / 2 + lean
        begin, finish = (ax - ux * first, ay - uy * first), (bx + ux * last, by + uy * last)
        self.tubes.append(Tube(begin, finish, radii, texture, self.turn, parts, layer + depth))

    def solid(self, top: Point, bottom: Point, wide, deep, texture, parts, layer: float) -> None:
        """An upright solid with half widths ``wide [K]`` and half depths ``deep [K]``."""
        eye = self.eye
        middle = (top[1] + bottom[1]) / 2
        depth = (eye.depth(top) + eye.depth(bottom)) / 2
        radii = eye.width(wide, deep, middle)
        self.tubes.append(Tube(eye.screen(top), eye.screen(bottom), radii, texture, self.turn, parts, layer + depth))

    def legs(self, lift: float) -> None:
        """Legs, shoes, and trousers, shorts or a skirt; ``lift`` is how far the body is off the ground."""
        who, clothes = self.who, self.clothes
        for side in (1, -1):
            hip, knee, ankle, toe, heel = self._leg_joints(side, lift)
            thick = 0.046 * who.build
            bare = who.lower_cut in ("shorts", "skirt")
            if bare:
                self.limb(hip, knee, thick * 0.95, 0.032, clothes.skin, LEGS, -10)
                self.limb(knee, ankle, 0.031, 0.019, clothes.skin, LEGS, -10)
            else:
                self.limb(knee, ankle, 0.036 * who.build, 0.029, clothes.lower, LOWER, -10)
                self.limb(hip, knee, thick, 0.038 * who.build, clothes.lower, LOWER, -10, 0.004)
            if who.lower_cut == "shorts":
                low = tuple(a + 0.8 * (b - a) for a, b in zip(hip, knee, strict=True))
                self.limb(hip, low, thick * 1.08, 0.045 * who.build, clothes.lower, LOWER, -10, 0.01)
            self.limb(heel, toe, 0.021, 0.017, clothes.shoe, SHOES, -10, 0.012)
        if who.lower_cut == "skirt":
            wide = _outline("skirt") * np.float32(self.hip_wide)
            deep = _outline("skirt") * np.float32(self.deep * 1.05)
            self.solid((0, HIP + 0.05 + lift, 0), (0, 0.29 + lift, 0), wide, deep, clothes.lower, LOWER, -5)
        else:
            wide = np.full(SAMPLES, self.hip_wide * 0.97, dtype=np.float32)
            deep = np.full(SAMPLES, self.deep * 0.95, dtype=np.float32)
            self.solid((0, HIP + 0.06 + lift, 0), (0, HIP - 0.035 + lift, 0), wide, deep, clothes.lower, LOWER, -5)

    def _leg_joints(self, side: int, lift: float) -> tuple[Point, Point, Point, Point, Point]:
        pose = self.pose
        wave = sine(2 * np.pi * pose.phase) * side
        late = cosine(2 * np.pi * pose.phase) * side
        thigh = pose.swing * wave
        bend = 0.06 + pose.swing * (0.35 + 1.15 * max(0.0, late * 0.8 - wave * 0.35))
        x = side * self.hip_wide * 0.52
        hip = (x, HIP - 0.01 + lift, 0.0)
        knee = (x, hip[1] - THIGH * cosine(thigh), THIGH * sine(thigh))
        shank = thigh - bend
        ankle = (x * 0.85, knee[1] - SHANK * cosine(shank), knee[2] + SHANK * sine(shank))
        tip = 0.35 * shank
        toe = (x * 1.05, ankle[1] - 0.014 + 0.075 * sine(tip), ankle[2] + 0.075 * cosine(tip))
        heel = (x * 0.85, ankle[1] - 0.008, ankle[2] - 0.012)
        return hip, knee, ankle, toe, heel

    def lift(self) -> float:
        """How far the hips drop so that the lower foot stands on the ground."""
        return 0.02 - min(min(joint[1] for joint in self._leg_joints(side, 0.0)) for side in (1, -1))

    def torso(self, lift: float) -> None:
        who, clothes = self.who, self.clothes
        long = torso_length(who)
        top, hem = SHOULDER + 0.045 + lift, SHOULDER + 0.045 + lift - 0.36 * long
        kind = "coat" if who.upper_cut == "coat" else "torso"
        roomy = 1.1 if who.upper_cut in ("jacket", "coat", "hoodie") else 1.0
        wide = _outline(kind) * np.float32(self.shoulder_wide)
        # Below the ribs the body follows the hips rather than the shoulders.
        share = np.arange(SAMPLES, dtype=np.float32) / np.float32(SAMPLES) * np.float32(0.8 * long)
        wide += np.clip(share, 0, 0.8) * np.float32(self.hip_wide * 1.05 - self.shoulder_wide * 0.84) * np.float32(0.8)
        deep = _outline("torso deep") * np.float32(self.deep * roomy * 1.05)
        self.solid((0, top, 0), (0, hem, 0), wide * np.float32(roomy), deep, clothes.torso, UPPER, 0)

    def arms(self, lift: float) -> None:
        """Arms, sleeves and hands."""
        who, clothes, pose = self.who, self.clothes, self.pose
        cloth = 0.029 * who.build * (1.12 if who.upper_cut in ("jacket", "coat", "hoodie") else 1.0)
        for side, elbow_bend in ((1, pose.left_elbow), (-1, pose.right_elbow)):
            swing = -0.85 * pose.swing * sine(2 * np.pi * pose.phase) * side
            x = side * (self.shoulder_wide - 0.024)
            shoulder = (x, SHOULDER - 0.016 + lift, 0.0)
            out = side * 0.03
            elbow = (x + out, shoulder[1] - UPPER_ARM * cosine(swing), UPPER_ARM * sine(swing))
            fore = swing + elbow_bend
            wrist = (
                elbow[0] - side * 0.05 * sine(elbow_bend),
                elbow[1] - FOREARM * cosine(fore),
                elbow[2] + FOREARM * sine(fore),
            )
            hand = tuple(b + 0.18 * (b - a) for a, b in zip(elbow, wrist, strict=True))
            # An arm well behind the body is drawn before the legs, the other ones after the trunk.
            middle = self.eye.depth(elbow)
            layer = -20 if middle < -0.05 else 0
            self.limb(wrist, hand, 0.016, 0.016, clothes.skin, ARMS, layer, 0.09)
            if who.upper_cut == "t-shirt":
                cuff = tuple(a + 0.7 * (b - a) for a, b in zip(shoulder, elbow, strict=True))
                self.limb(elbow, wrist, 0.021, 0.016, clothes.skin, ARMS, layer, 0.08)
                self.limb(shoulder, elbow, 0.024, 0.021, clothes.skin, ARMS, layer, 0.085)
                self.limb(shoulder, cuff, cloth * 0.92, cloth * 0.98, clothes.sleeve, UPPER, layer, 0.09)
            else:
                self.limb(elbow, wrist, cloth * 0.86, cloth * 0.66, clothes.sleeve, UPPER, layer, 0.08)
                self.limb(shoulder, elbow, cloth * 0.96, cloth * 0.88, clothes.sleeve, UPPER, layer, 0.09)
            if who.bag == "hand" and side == (1 if who.bag_side == "left" else -1):
                low = (hand[0] + side * 0.01, hand[1] - 0.17, hand[2])
                wide, deep = _outline("handbag") * np.float32(0.03), _outline("handbag") * np.float32(0.075)
                self.solid((low[0], hand[1], hand[2]), low, wide, deep, clothes.bag, BAG, layer + 0.1)

    def head(self, lift: float) -> None:
        """Neck, face, hair and what is worn on the head."""
        who, clothes = self.who, self.clothes
        base = CHIN + lift
        self.limb((0, SHOULDER + 0.01 + lift, 0), (0, base + 0.02, 0.012), 0.033, 0.03, clothes.skin, FACE, 0, -0.02)
        egg = _outline("egg")
        top, bottom = (0.0, base + HEAD_TALL - 0.006, 0.01), (0.0, base - 0.006, 0.016)
        self.solid(
            top,
            bottom,
            egg * np.float32(HEAD_WIDE * self.short),
            egg * np.float32(HEAD_DEEP * self.short),
            clothes.head,
            clothes.head_parts,
            0.03,
        )
        if who.hair_style == "long":
            hair = _outline("long hair")
            self.solid(
                (0, base + 0.10, -0.03), (0, base - 0.075, -0.045), hair * np.float32(0.058), hair * np.float32(0.03),
                clothes.hair, HAIR, 0.0,
            )  # fmt: skip
        elif who.hair_style == "ponytail":
            tail = _outline("ponytail") * np.float32(0.022)
            self.solid((0, base + 0.10, -0.066), (0, base - 0.05, -0.085), tail, tail, clothes.hair, HAIR, 0.0)
        elif who.hair_style == "bun" and not who.hat:
            knot = _outline("round") * np.float32(0.03)
            self.solid((0, base + 0.165, -0.035), (0, base + 0.11, -0.045), knot, knot, clothes.hair, HAIR, 0.0)
        if who.hat == "cap":
            brim = _outline("brim")
            self.solid(
                (0, base + 0.098, 0.055), (0, base + 0.084, 0.085), brim * np.float32(0.048), brim * np.float32(0.034),
                clothes.hat, HAIR, 0.0,
            )  # fmt: skip

    def luggage(self, lift: float) -> None:
        """What the person carries."""
        who, clothes = self.who, self.clothes
        if who.backpack:
            pack = _outline("pack")
            back = -self.deep - 0.035
            self.solid(
                (0, SHOULDER + 0.015 + lift, back), (0, SHOULDER - 0.24 + lift, back),
                pack * np.float32(0.088), pack * np.float32(0.05), clothes.backpack, BAG, 0.0,
            )  # fmt: skip
        if who.bag == "shoulder":
            side = 1 if who.bag_side == "left" else -1
            out = side * (self.hip_wide + 0.028)
            satchel = _outline("satchel")
            # On the far side it hangs behind the legs.
            layer = -20 if self.eye.depth((out, HIP, 0.0)) < -0.05 else 0.1
            self.solid(
                (out, HIP + 0.05 + lift, 0.0), (out, HIP - 0.075 + lift, 0.0),
                satchel * np.float32(0.03), satchel * np.float32(0.075), clothes.bag, BAG, layer,
            )  # fmt: skip


def figure(who: Identity, clothes: Wardrobe, pose: Pose, view: View) -> list[Tube]:
    """The tubes of a person, farthest first.

    Args:
        who: the identity.
        clothes: its textures, from :func:`mdpr_fastreid.data.synth.texture.wardrobe`.
        pose: the moment of walking.
        view: where from and how large.
    """
    body = _Figure(who, clothes, pose, view)
    lift = body.lift()
    body.legs(lift)
    body.torso(lift)
    body.arms(lift)
    body.head(lift)
    body.luggage(lift)
    return sorted(body.tubes, key=lambda tube: tube.depth)
