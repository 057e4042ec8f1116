"""One image: its pixels are pinned, its mask fits, and every knob of a preset does what it says."""

import hashlib
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from mdpr_fastreid.data.synth.camera import make_camera, neutral
from mdpr_fastreid.data.synth.canvas import BAG, LOWER, PARTS, SHOES, UPPER, Canvas
from mdpr_fastreid.data.synth.exact import PI, Stream
from mdpr_fastreid.data.synth.identity import TEST, make_identity
from mdpr_fastreid.data.synth.occluders import OCCLUDERS, draw_furniture
from mdpr_fastreid.data.synth.presets import KNOBS, PRESETS, adjusted
from mdpr_fastreid.data.synth.shot import make_moment, shoot, walk
from mdpr_fastreid.data.synth.texture import garment_colours

SIZE = (128, 64)
NOTHING = dict.fromkeys(("viewpoint", "illumination", "occlusion", "box_error", "crowd", "sensor"), "0")


def _shots(preset, count=24, size=SIZE, occlusion=None, index=3):
    """Pictures of one identity by the preset's cameras in turn, with the moments and cameras that they show."""
    who = make_identity(0, TEST, index, preset.test_identities, preset.look_alikes)
    shots = []
    for k in range(count):
        camera = make_camera(0, k % preset.cameras, preset)
        moment = make_moment((0, 9, k), preset, camera, preset.occlusion if occlusion is None else occlusion)
        shots.append((shoot(0, who, camera, moment, size), moment, camera))
    return who, shots


def test_pixels_are_the_pinned_ones():
    digest = hashlib.sha256()
    for picture, _, _ in _shots(PRESETS["tiny"])[1]:
        digest.update(picture.rgb.tobytes() + picture.parts.tobytes())
    assert digest.hexdigest() == "0db609b3afba0424e7ddd34dadc7168d31a5e09c02f2dd9957ca170d0736c11f"


def test_masks_know_background_and_eight_parts():
    assert len(PARTS) == 9
    _, shots = _shots(PRESETS["demo"], 60)
    seen = set(np.unique(np.concatenate([picture.parts.ravel() for picture, _, _ in shots])))
    assert {0, 1, 2, UPPER, LOWER, SHOES} <= seen <= set(range(9))


def test_larger_pictures_are_rendered_and_not_upscaled():
    sharp = adjusted(PRESETS["tiny"], NOTHING)
    small, large = (_shots(sharp, 4, size)[1] for size in ((128, 64), (256, 128)))
    for (low, *_), (high, *_) in zip(small, large, strict=True):
        up = np.asarray(Image.fromarray(low.rgb).resize((128, 256), Image.Resampling.BICUBIC), float)
        assert np.abs(up - high.rgb).mean() < 14, "another picture"
        steps = [np.abs(np.diff(rgb.astype(float), axis=1)) for rgb in (up, high.rgb)]
        assert np.quantile(steps[1], 0.99) > 1.3 * np.quantile(steps[0], 0.99), "no new detail"
        doubled = np.asarray(Image.fromarray(low.parts).resize((128, 256), Image.Resampling.NEAREST))
        assert (doubled == high.parts).mean() > 0.95


@pytest.mark.parametrize("size", [(64, 32), (96, 96), (384, 128)])
def test_any_size_renders_with_the_person_in_it(size):
    picture = _shots(adjusted(PRESETS["tiny"], NOTHING), 1, size)[1][0][0]
    assert picture.rgb.shape == (*size, 3) and picture.parts.shape == size
    assert 0.1 < (picture.parts > 0).mean() < 0.6


@pytest.mark.parametrize("index", range(6))
def test_the_colour_under_a_mask_is_the_garments_up_to_shading(index):
    plain = adjusted(PRESETS["tiny"], {**NOTHING, "viewpoint": "1"})
    who, shots = _shots(plain, 12, index=index)
    for name, part in (("upper", UPPER), ("lower", LOWER), ("shoes", SHOES)):
        pixels = np.concatenate([picture.rgb[picture.parts == part] for picture, _, _ in shots]).astype(float)
        garment = np.array(garment_colours(who)[name], float)
        shading = pixels.mean(axis=0) @ garment / (garment @ garment)
        assert 0.6 < shading < 1.15
        # Rims mix with what lies behind them, prints and sleeves shift the mean a little.
        assert np.abs(pixels.mean(axis=0) - shading * garment).max() < 32, name


def test_the_mask_leaves_out_what_stands_in_front():
    preset = adjusted(PRESETS["tiny"], {"crowd": "0"})
    who = make_identity(0, TEST, 3, 16, 2)
    hidden, repainted = 0, []
    for k in range(40):
        camera = neutral(make_camera(0, k % 6, preset))
        moment = replace(make_moment((0, 5, k), preset, camera, 1.0), shadow=0.0, streak=False)
        covered, free = (shoot(0, who, camera, m, SIZE) for m in (moment, replace(moment, occluder="")))
        changed = np.abs(covered.rgb.astype(int) - free.rgb).max(axis=2) > 60
        assert (covered.parts[covered.parts > 0] == free.parts[covered.parts > 0]).all()
        repainted.append(covered.parts[changed & (free.parts > 0)] == 0)
        hidden += (free.parts > 0).sum() > (covered.parts > 0).sum()
    assert hidden >= 30
    assert np.concatenate(repainted).mean() > 0.9


def test_strangers_are_background():
    preset = PRESETS["tiny"]
    camera = make_camera(0, 0, preset)
    moment = replace(make_moment((0, 5, 1), preset, camera, 0.0), behind=True, occluder="pedestrian")
    assert not shoot(0, None, camera, moment, SIZE).parts.any()


@pytest.mark.parametrize("kind", sorted(set(OCCLUDERS) - {"pedestrian"}))
def test_every_occluder_covers_something(kind):
    covered = 0
    for k in range(20):
        canvas = Canvas(np.full((128, 64, 3), 0.5, dtype=np.float32))
        canvas.parts[:] = BAG
        draw_furniture(canvas, kind, Stream(3, k))
        covered += (canvas.parts == 0).mean()
    assert 0.01 < covered / 20 < 0.7


def test_viewpoint_spreads_directions():
    still = adjusted(PRESETS["tiny"], {"viewpoint": "0"})
    assert {moment.turn for _, moment, _ in _shots(still)[1]} == {0.0}
    turns = [make_moment((1, k), PRESETS["tiny"], make_camera(0, k % 6, PRESETS["tiny"]), 0.0).turn for k in range(400)]
    eighths = np.bincount(np.round(np.array(turns) / (PI / 4)).astype(int) % 8, minlength=8)
    assert eighths.min() > 15


def test_occlusion_hides_more_of_the_person_the_higher_it_is():
    seen = []
    for share in ("0", "0.5", "1"):
        preset = adjusted(PRESETS["tiny"], {**NOTHING, "occlusion": share})
        seen.append(np.mean([(picture.parts > 0).mean() for picture, _, _ in _shots(preset, 60)[1]]))
    assert seen[0] > 1.08 * seen[1] > 1.08 * 1.08 * seen[2]


def test_illumination_sets_cameras_apart_and_zero_leaves_none():
    def means(share):
        preset = adjusted(PRESETS["tiny"], {**NOTHING, "illumination": share})
        return [(c.gains, c.saturation) for c in (make_camera(0, k, preset) for k in range(6))]

    assert set(means("0")) == {((1.0, 1.0, 1.0), 1.0)}
    assert len(set(means("0.5"))) == 6
    spread = [np.ptp([np.mean(gains) for gains, _ in means(share)]) for share in ("0.2", "0.5", "1")]
    assert spread[0] < spread[1] < spread[2]


def test_one_person_looks_of_another_colour_by_each_camera():
    def shift(share):
        preset = adjusted(PRESETS["tiny"], {**NOTHING, "illumination": share})
        shots = _shots(preset, 6)[1]
        return np.ptp([picture.rgb[picture.parts == UPPER].mean(axis=0) for picture, _, _ in shots], axis=0).mean()

    assert shift("0.8") > 2 * shift("0") + 10


def test_box_error_moves_and_cuts_and_zero_does_neither():
    def boxes(share):
        preset = adjusted(PRESETS["tiny"], {**NOTHING, "box_error": share})
        tops = []
        for picture, _, _ in _shots(preset, 40)[1]:
            rows = np.flatnonzero((picture.parts > 0).any(axis=1))
            tops.append((rows[0], rows[-1]))
        return np.array(tops)

    exact, wild = boxes("0"), boxes("1")
    assert (exact[:, 0] > 0).all() and (exact[:, 1] == 127).mean() < 0.1
    assert wild.std(axis=0).min() > 2 * exact.std(axis=0).max()
    assert (wild[:, 0] == 0).any() and (wild[:, 1] == 127).any()


def test_crowd_puts_strangers_behind():
    assert not any(m.behind for _, m, _ in _shots(adjusted(PRESETS["tiny"], {"crowd": "0"}))[1])
    assert all(m.behind for _, m, _ in _shots(adjusted(PRESETS["tiny"], {"crowd": "1"}))[1])


def test_sensor_takes_detail_away():
    def sharpness(share):
        preset = adjusted(PRESETS["tiny"], {**NOTHING, "sensor": share})
        cameras = [make_camera(0, k, preset) for k in range(6)]
        return np.mean([c.resolution for c in cameras]), np.mean([c.quality for c in cameras]), cameras[0].noise

    assert sharpness("0") == (1.0, 95.0, 0.0)
    assert sharpness("0.9")[0] < 0.75 and sharpness("0.9")[1] < 75 and sharpness("0.9")[2] > 0


def test_every_knob_is_checked():
    for knob in KNOBS:
        with pytest.raises(ValueError, match=knob):
            adjusted(PRESETS["tiny"], {knob: "9"})
        with pytest.raises(ValueError, match="number"):
            adjusted(PRESETS["tiny"], {knob: "much"})
    with pytest.raises(ValueError, match=r"no knob is called 'fog'; there are .*occlusion"):
        adjusted(PRESETS["tiny"], {"fog": "0.2"})


def test_a_walk_steps_on_and_keeps_its_scenery():
    preset = adjusted(PRESETS["tiny"], {"sensor": "0", "crowd": "0"})
    camera = make_camera(0, 1, preset)
    who = make_identity(0, TEST, 2, 16, 2)
    first = replace(make_moment((0, 8), preset, camera, 0.0), turn=PI / 2, swing=0.4, shadow=0.0)
    moments = walk(first, 5)
    frames = [shoot(0, who, camera, moment, SIZE) for moment in moments]
    assert [m.stroll for m in moments] == sorted(m.stroll for m in moments) and len({m.phase for m in moments}) == 5
    legs = [(frame.parts == LOWER) | (frame.parts == SHOES) for frame in frames]
    assert all((a != b).sum() > 20 for a, b in pairwise(legs))
    upper = [frame.rgb[frame.parts == UPPER].mean(axis=0) for frame in frames]
    assert np.ptp(upper, axis=0).max() < 16
