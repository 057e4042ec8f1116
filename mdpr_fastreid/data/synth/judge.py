"""Is a rendered set hard for the right reasons? The figures that say so.

Needs scikit-learn (nearest neighbours and average precision) beyond what the renderer needs.
"""

import io
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from .canvas import LOWER, SHOES, UPPER
from .identity import TEST
from .manifest import RenderError, request_of
from .plan import GALLERY_FOLDER, QUERY_FOLDER, TRACKLET_FOLDERS, plan, query_tracklets
from .writer import encode, pictures

GARMENTS = {"upper": UPPER, "lower": LOWER, "shoes": SHOES}
_CHUNK = 256
"""Queries compared at once: their distances to the gallery of `base` take 16 MiB."""


class Labelled(NamedTuple):
    """The images of a folder in order of name, without junk: ``paths``, ``pids [N]`` and ``camids [N]``."""

    paths: list[Path]
    pids: np.ndarray
    camids: np.ndarray


def labelled(folder: Path) -> Labelled:
    """List a folder in Market-1501's names."""
    paths = sorted(path for path in folder.glob("*.jpg") if not path.name.startswith("-1"))
    names = [path.name.split("_") for path in paths]
    return Labelled(paths, np.array([int(n[0]) for n in names]), np.array([int(n[1][1]) for n in names]))


def queries_and_gallery(folder: Path) -> tuple[Labelled, Labelled]:
    """Queries and gallery of a set, or, where it has tracklets alone, the first frame of each of these."""
    if (folder / QUERY_FOLDER).is_dir():
        return labelled(folder / QUERY_FOLDER), labelled(folder / GALLERY_FOLDER)
    paths = np.array(sorted((folder / TRACKLET_FOLDERS[TEST]).glob("*/*F001.jpg"), key=_track))
    pids, camids = (np.array([int(path.name[place]) for path in paths]) for place in (slice(4), slice(5, 6)))
    chosen = np.array(query_tracklets(zip(pids.tolist(), camids.tolist(), strict=True)), bool)
    query, gallery = (Labelled(list(paths[part]), pids[part], camids[part]) for part in (chosen, ~chosen))
    return query, gallery


def _track(path: Path) -> tuple[str, str]:
    """Identity and number of a tracklet, from a name as ``0001C1T0001F001.jpg``."""
    return path.name[:4], path.name[7:11]


def hsv_histogram(image: Image.Image, stripes: int = 1) -> np.ndarray:
    """Square roots of the shares of 16 x 4 x 4 bins of hue, saturation and value, float32 ``[stripes * 256]``.

    Euclidean distances between square roots rank as the Hellinger distance does.
    """
    hsv = np.asarray(image.convert("HSV"), dtype=np.int64)
    bins = (hsv[..., 0] >> 4) * 16 + (hsv[..., 1] >> 6) * 4 + (hsv[..., 2] >> 6)
    counts = [np.bincount(part.ravel(), minlength=256) / part.size for part in np.array_split(bins, stripes)]
    return np.sqrt(np.concatenate(counts)).astype(np.float32)


def raw_pixels(image: Image.Image) -> np.ndarray:
    """The picture at 64 x 32 as it is, float32 ``[6144]``; smaller than it was, which forgives small shifts."""
    return np.asarray(image.resize((32, 64), Image.Resampling.BOX), dtype=np.float32).ravel() / np.float32(255)


def mean_average_precision(distances: np.ndarray, query: Labelled, gallery: Labelled) -> np.ndarray:
    """Average precision of each query under Market-1501's protocol, ``[Q]``; NaN without a true match.

    Args:
        distances: ``[Q, G]``.
        query: labels of the rows.
        gallery: labels of the columns; images of the query's identity by the query's camera are left out.
    """
    from sklearn.metrics import average_precision_score

    precisions = []
    for row, pid, camid in zip(distances, query.pids, query.camids, strict=True):
        same = gallery.pids == pid
        kept = ~(same & (gallery.camids == camid))
        precisions.append(average_precision_score(same[kept], -row[kept]) if same[kept].any() else np.nan)
    return np.array(precisions)


def nearest_neighbour_map(folder: Path, describe: Callable[[Image.Image], np.ndarray]) -> float:
    """mAP in percent of ranking the gallery by Euclidean distance between descriptors."""
    from sklearn.metrics import pairwise_distances

    query, gallery = queries_and_gallery(folder)
    features = [np.stack([describe(_opened(path)) for path in part.paths]) for part in (query, gallery)]
    precisions = []
    for first in range(0, len(query.paths), _CHUNK):
        rows = slice(first, first + _CHUNK)
        part = Labelled(query.paths[rows], query.pids[rows], query.camids[rows])
        precisions.append(mean_average_precision(pairwise_distances(features[0][rows], features[1]), part, gallery))
    return 100 * float(np.nanmean(np.concatenate(precisions)))


def _opened(path: Path | io.BytesIO) -> Image.Image:
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except OSError as error:
        raise RenderError(f"{path} cannot be read ({error}); delete the set and render it again") from error


def mask_colour_agreement(folder: Path, images: int = 400) -> dict[str, float]:
    """How well the mean colour under each garment's mask agrees with the garment's: R^2 over ``images`` of the gallery.

    A camera changes colours by its gains and haze, so an affine map per camera and channel is fitted first; masks that
    lay elsewhere would leave R^2 near 0, perfect ones near 1.
    """
    people = json.loads((folder / "identities.json").read_text())
    _, gallery = queries_and_gallery(folder)
    known = [k for k in range(len(gallery.paths)) if gallery.pids[k] > 0]
    agreement = {}
    for garment, part in GARMENTS.items():
        seen, true, camids = [], [], []
        for k in known[:: max(1, len(known) // images)]:
            place = gallery.paths[k].relative_to(folder).with_suffix(".png")
            with Image.open(folder / "masks" / place) as mask:
                inside = np.asarray(mask) == part
            # A few pixels at a rim are mostly their neighbours.
            if inside.sum() >= inside.size // 400:
                seen.append(np.asarray(_opened(gallery.paths[k]))[inside].mean(axis=0))
                true.append(people[f"{gallery.pids[k]:04d}"]["colours"][garment])
                camids.append(gallery.camids[k])
        agreement[garment] = _affine_r2(np.array(true, float), np.array(seen), np.array(camids))
    return agreement


def _affine_r2(true: np.ndarray, seen: np.ndarray, camids: np.ndarray) -> float:
    left = total = 0.0
    for camid in np.unique(camids):
        rows = camids == camid
        for channel in range(3):
            design = np.stack([true[rows, channel], np.ones(rows.sum())], axis=1)
            target = seen[rows, channel]
            left += ((target - design @ np.linalg.lstsq(design, target, rcond=None)[0]) ** 2).sum()
            total += ((target - target.mean()) ** 2).sum()
    return float(1 - left / max(total, 1e-9))


class Again(NamedTuple):
    """Images rendered again: how many equal the files' pixels, of how many, and how many a second of processor time."""

    same: int
    images: int
    per_second: float


def rendered_again(folder: Path, images: int = 300) -> Again:
    """Render and encode some images of a set in this process and compare the decoded pixels with the files'."""
    request = request_of(folder)
    jobs = plan(request.preset, request.seed)
    jobs = [job for job in jobs if job.kind != "tracklet"] or jobs
    same = count = 0
    spent = 0.0
    for job in jobs[:: max(1, len(jobs) * 16 // images)]:
        start = time.process_time()
        fresh = [(name, encode(picture, quality)[0]) for name, quality, picture in pictures(request, job)]
        spent += time.process_time() - start
        for name, image in fresh:
            stored = np.asarray(_opened(folder / job.folder / f"{name}.jpg"))
            same += np.array_equal(stored, np.asarray(_opened(io.BytesIO(image))))
        count += len(fresh)
        if count >= images:
            break
    return Again(same, count, count / max(spent, 1e-9))


def judge(folder: Path) -> list[tuple[str, str]]:
    """All figures of a rendered set, as pairs of what is measured and the figure.

    Raises:
        RenderError: when ``folder`` holds no rendered set, or files of it are missing or damaged.
    """
    again = rendered_again(folder)
    figures = [
        ("images rendered again that equal the files", f"{again.same} of {again.images}"),
        ("images rendered a second on one core (wanted: 150 at 128x64)", f"{again.per_second:.0f}"),
    ]
    for name, describe in (
        ("HSV histogram, nearest neighbour, mAP (wanted on base: under 25)", hsv_histogram),
        ("HSV histograms of 6 stripes, nearest neighbour, mAP", partial(hsv_histogram, stripes=6)),
        ("raw pixels, nearest neighbour, mAP (wanted on base: under 10)", raw_pixels),
    ):
        figures.append((name, f"{nearest_neighbour_map(folder, describe):.1f}"))
    for garment, agreement in mask_colour_agreement(folder).items():
        figures.append((f"colour under the mask against the {garment} colour, R^2", f"{agreement:.2f}"))
    return figures
