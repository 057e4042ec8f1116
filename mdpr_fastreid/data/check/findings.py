"""Counts a data set and lists what is wrong with it."""

from collections import Counter, defaultdict
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

from fastreid.data.datasets.bases import ImageDataset

from mdpr_fastreid.data.check.images import Inspection, inspect_all
from mdpr_fastreid.data.check.masks import (
    MaskInspection,
    SetMasks,
    count_masks,
    find_masks,
    inspect_masks,
    mask_problems,
)
from mdpr_fastreid.data.check.tracklets import count_tracklets, tracklet_errors, tracklet_warnings
from mdpr_fastreid.data.custom.dataset import queries_without_match
from mdpr_fastreid.data.datasets.counts import PUBLISHED_BY_THE_TOOLBOX
from mdpr_fastreid.data.datasets.synthreid import Rendered
from mdpr_fastreid.data.tracklets import files_of, frames_of, is_tracklet

ERROR, WARNING = "error", "warning"

# Its classes number the identities of training and test separately, so that they cannot be compared
_NUMBERED_TWICE = {"CUHK03"}


class Finding(NamedTuple):
    """One thing that is wrong: an error, or a warning for what can still be trained on."""

    level: str
    kind: str
    message: str


class Report(NamedTuple):
    """All that ``mdpr data`` says of one set."""

    name: str
    folder: str
    splits: dict[str, dict]
    findings: list[Finding]
    masks: dict
    """As of :func:`~mdpr_fastreid.data.check.masks.count_masks`."""
    tracklets: dict
    """As of :func:`~mdpr_fastreid.data.check.tracklets.count_tracklets`."""

    @property
    def errors(self) -> list[Finding]:
        """The findings that make the command fail."""
        return [finding for finding in self.findings if finding.level == ERROR]


def check(
    data: ImageDataset, progress: Callable[[], object], workers: int | None = None, masks: SetMasks | None = None
) -> Report:
    """Count a set, decode all its images and frames, and its masks if it has any, and compare them.

    Args:
        data: the set.
        progress: called after each image and each mask.
        workers: threads that decode.
        masks: of the set; by default those that are found, with their labels as they are.
    """
    masks = find_masks(data) if masks is None else masks
    name = type(data).__name__
    splits = {"train": data.train, "query": data.query, "gallery": data.gallery}
    paths = pictures_of(data)
    inspections = {found.path: found for found in inspect_all(paths, progress, workers)}
    inspected_masks = inspect_masks(masks, progress, workers)
    published = getattr(data, "published", None) or PUBLISHED_BY_THE_TOOLBOX.get(name, {})
    counted = {part: _counted(items, inspections) for part, items in splits.items()}
    counted_masks = count_masks(masks, splits, inspected_masks)
    findings = [
        *_changed(data),
        *(Finding(ERROR, "damaged", f"{found.path}: {found.error}") for found in inspections.values() if found.error),
        *_masks(masks, splits, inspected_masks, inspections),
        *_unseen_parts(counted_masks),
        *(Finding(ERROR, *found) for found in tracklet_errors(splits)),
        *(Finding(WARNING, *found) for found in tracklet_warnings(splits)),
        *_identities_in_both(data, splits),
        *_unmatched(splits),
        *_half_a_test(splits),
        *_duplicates(splits, inspections),
        *(
            Finding(WARNING, "counts", f"{part} has {count.of(splits[part])}, {count} as published")
            for part, count in published.items()
            if count.of(splits[part]) != count
        ),
    ]
    if left_out := getattr(data, "left_out", []):
        kind = "left out, as not named as an image is or in a folder too deep"
        findings += [Finding(WARNING, kind, str(path)) for path in left_out]
    if not paths:
        findings.append(Finding(ERROR, "empty", "there is no image in it"))
    return Report(
        name, str(getattr(data, "dataset_dir", "")), counted, findings, counted_masks, count_tracklets(splits)
    )


def pictures_of(data: ImageDataset) -> list[str]:
    """All files of a set that are decoded: its images, and the frames of its tracklets."""
    return sorted(files_of(data.train + data.query + data.gallery))


def _counted(items: list[tuple], inspections: dict[str, Inspection]) -> dict:
    a_identity = sorted(Counter(item[1] for item in items).values())
    sizes = [inspections[path].size for path in files_of(items) if not inspections[path].error]
    return {
        "identities": len(a_identity),
        "images": len(items),
        "cameras": len({item[2] for item in items}),
        "images_per_identity": [a_identity[0], median(a_identity), a_identity[-1]] if a_identity else [],
        "width": [min(s[0] for s in sizes), max(s[0] for s in sizes)] if sizes else [],
        "height": [min(s[1] for s in sizes), max(s[1] for s in sizes)] if sizes else [],
    }


def _changed(data: ImageDataset) -> list[Finding]:
    """A rendered set has hashes to be compared with."""
    change = data.change_since_rendered() if isinstance(data, Rendered) else ""
    return [Finding(ERROR, "changed since it was rendered", change)] if change else []


def _masks(
    masks: SetMasks,
    splits: dict[str, list[tuple]],
    found: dict[str, MaskInspection],
    images: dict[str, Inspection],
) -> list[Finding]:
    if masks.looked_for:
        return [Finding(WARNING, "no masks", masks.looked_for)]
    errors, missing = mask_problems(splits, found, images)
    return [
        *(Finding(ERROR, kind, message) for kind, message in errors),
        *(Finding(WARNING, "image without a mask", path) for path in missing),
    ]


def _unseen_parts(masks: dict) -> list[Finding]:
    if not masks or not masks["groups"]:
        return []
    message = f"no training mask shows {{}}, of part grouping {masks['groups']}: it cannot be learnt"
    shares = masks["splits"]["train"]["visible"]
    return [Finding(WARNING, "part never shown", message.format(part)) for part, share in shares.items() if share == 0]


def _identities_in_both(data: ImageDataset, splits: dict[str, list[tuple]]) -> list[Finding]:
    if type(data).__name__ in _NUMBERED_TWICE:
        return []
    prefix = f"{getattr(data, 'dataset_name', '')}_"
    names = getattr(data, "identity_names", {})
    train = {str(item[1]).removeprefix(prefix): item[0] for item in splits["train"]}
    ignored = set(data._junk_pids)
    test = {item[1]: item[0] for item in splits["query"] + splits["gallery"] if item[1] not in ignored}
    return [
        Finding(ERROR, "identity in train and test", f"identity {names.get(pid, pid)}: {train[str(pid)]} and {path}")
        for pid, path in sorted(test.items(), key=lambda item: str(item[0]))
        if str(pid) in train
    ]


def _unmatched(splits: dict[str, list[tuple]]) -> list[Finding]:
    if any(item[1] == -1 for item in splits["query"]):  # an unlabelled challenge
        return []
    return [
        Finding(ERROR, "query without a match", f"{path}: no gallery image of its identity under another camera")
        for path in queries_without_match(splits["query"], splits["gallery"])
    ]


def _half_a_test(splits: dict[str, list[tuple]]) -> list[Finding]:
    empty = [part for part in ("query", "gallery") if not splits[part]]
    if len(empty) != 1:  # both empty: a set to train on
        return []
    reason = "nothing can be evaluated"
    if empty == ["query"]:
        reason += "; a query needs a gallery image of its identity under another camera"
    return [Finding(ERROR, f"no {empty[0]} images", reason)]


def _duplicates(splits: dict[str, list[tuple]], inspections: dict[str, Inspection]) -> list[Finding]:
    listed = [(part, item) for part, items in splits.items() for item in items]
    split_of = {path: part for part, item in listed for path in files_of([item])}
    labels_of = {path: item[1:] for _, item in listed for path in files_of([item])}
    beside_tracklets = {item[0] for _, item in listed if frames_of(item) and not is_tracklet(item)}
    alike: dict[str, list[Inspection]] = defaultdict(list)
    for found in inspections.values():
        if not found.error:
            alike[found.pixel_hash].append(found)
    findings = []
    for group in alike.values():
        # Of a query beside a tracklet, copies of its identity and camera do not count in its ranking
        kept = {labels_of[found.path] for found in group if found.path not in beside_tracklets}
        group = [found for found in group if found.path not in beside_tracklets or labels_of[found.path] not in kept]
        if len(group) < 2:
            continue
        across = len({split_of[found.path] for found in group}) > 1
        what = "bytes" if len({found.file_hash for found in group}) == 1 else "pixels"
        mixed = len({labels_of[found.path][0] for found in group}) > 1
        where = "across splits" if across else "under two identities" if mixed else "within a split"
        paths = ", ".join(found.path for found in group)
        findings.append(Finding(ERROR if across or mixed else WARNING, f"duplicate {where}", f"same {what}: {paths}"))
    return findings
