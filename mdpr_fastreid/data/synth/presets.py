"""The named sets: how many identities and images, and how hard. Every difficulty is a field of its own."""

from dataclasses import asdict, dataclass, fields, replace


@dataclass(frozen=True)
class Preset:
    """What one rendered set is made of.

    The counts are those of the folders: ``gallery_images`` counts identities' images and distractors (``0000``) as
    Market-1501 counts them, ``junk_images`` (``-1``) lie in the gallery's folder besides. Difficulties from
    ``viewpoint`` on are strengths or shares in ``[0, 1]``, 0 being none; they can be changed one at a time with
    :func:`adjusted`.
    """

    name: str
    train_identities: int
    test_identities: int
    train_images: int
    query_images: int
    gallery_images: int
    distractor_images: int
    junk_images: int
    train_tracklets: int
    test_tracklets: int
    frames: int
    cameras: int = 6
    look_alikes: int = 3
    """Identities in a group that shares everything but one local detail each; 1 means no look-alikes."""
    look_alike_share: float = 1.0
    """Share of identities that are in such a group; the others look like nobody else."""
    viewpoint: float = 1.0
    """Share of images not seen from the front but from one of eight directions."""
    illumination: float = 0.3
    """How far cameras differ in exposure, white balance, contrast and saturation, and moments in light."""
    occlusion: float = 0.2
    """Share of images with furniture, a vehicle or another pedestrian in front (queries: ``query_occlusion``)."""
    query_occlusion: float = -1.0
    """The same share for query images; negative means as ``occlusion``."""
    box_error: float = 0.4
    """How far the detector's box is shifted, too large, or cuts off feet or head."""
    crowd: float = 0.2
    """Share of images with another pedestrian behind."""
    sensor: float = 0.3
    """Noise, blur, loss of resolution and JPEG compression."""


# What a small network can learn from 1,300 images in minutes.
_GENTLE = {
    "look_alikes": 2,
    "illumination": 0.2,
    "occlusion": 0.15,
    "box_error": 0.3,
    "crowd": 0.15,
    "sensor": 0.25,
}

# As in a street: most people look like nobody else
_FEW_LOOK_ALIKES = _GENTLE | {"look_alike_share": 0.3}

_GENTLE_OCCLUDED = _GENTLE | {"occlusion": 0.3}
_FEW_LOOK_ALIKES_OCCLUDED = _FEW_LOOK_ALIKES | {"occlusion": 0.3}

PRESETS = {
    preset.name: preset
    for preset in (
        Preset("tiny", 16, 16, 256, 32, 200, 12, 8, 16, 16, 4, **_GENTLE),
        Preset("demo", 64, 64, 1_300, 128, 900, 60, 40, 32, 32, 6, **_FEW_LOOK_ALIKES),
        Preset("small", 160, 200, 1_920, 600, 2_200, 200, 100, 0, 0, 4, **_FEW_LOOK_ALIKES),
        Preset("base", 751, 750, 12_936, 3_368, 15_913, 2_798, 3_819, 751, 750, 4),
        Preset("occluded", 702, 519, 15_618, 2_210, 17_661, 0, 0, 702, 519, 4, occlusion=0.3, query_occlusion=1.0),
        Preset("occluded_tiny", 16, 16, 256, 32, 200, 0, 0, 16, 16, 4, query_occlusion=1.0, **_GENTLE_OCCLUDED),
        Preset(
            "occluded_demo", 64, 64, 1_300, 128, 900, 0, 0, 32, 32, 6, query_occlusion=1.0, **_FEW_LOOK_ALIKES_OCCLUDED
        ),
        Preset(
            "occluded_small",
            160,
            200,
            1_920,
            600,
            2_200,
            0,
            0,
            0,
            0,
            4,
            query_occlusion=1.0,
            **_FEW_LOOK_ALIKES_OCCLUDED,
        ),
        Preset("clips_tiny", 6, 6, 0, 0, 0, 0, 0, 36, 36, 8, **_GENTLE),
        Preset("clips", 48, 48, 0, 0, 0, 0, 0, 288, 288, 8, **_FEW_LOOK_ALIKES),
        Preset("video", 625, 636, 5_000, 1_980, 5_088, 0, 0, 8_298, 9_330, 8),
    )
}

_COUNTS = [field.name for field in fields(Preset) if field.type is int and field.name not in ("cameras", "look_alikes")]
KNOBS = [field.name for field in fields(Preset) if field.name not in ("name", *_COUNTS)]


def adjusted(preset: Preset, settings: dict[str, str]) -> Preset:
    """A preset with some knobs changed.

    Args:
        preset: where to start from.
        settings: knob to value, as typed: ``{"occlusion": "0.6"}``.

    Raises:
        ValueError: for a knob that does not exist, or a value that it cannot take.
    """
    changes: dict[str, float | int] = {}
    for knob, text in settings.items():
        if knob not in KNOBS:
            raise ValueError(f"no knob is called {knob!r}; there are {', '.join(KNOBS)}")
        whole = isinstance(getattr(preset, knob), int)
        try:
            value = int(text) if whole else float(text)
        except ValueError:
            raise ValueError(f"{knob} takes a {'whole ' if whole else ''}number, not {text!r}") from None
        low, high = {"cameras": (2, 6), "look_alikes": (1, 7), "query_occlusion": (-1, 1)}.get(knob, (0, 1))
        if not low <= value <= high:
            raise ValueError(f"{knob} lies between {low} and {high}, {text} does not")
        changes[knob] = value
    return replace(preset, **changes)


def describe(preset: Preset) -> dict[str, str | int | float]:
    """The preset as plain data, for the manifest."""
    return asdict(preset)
