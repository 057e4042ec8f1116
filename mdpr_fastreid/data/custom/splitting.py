"""Splits a user's images where he has not: by hashes of names, so that the same images give the same split anywhere."""

import hashlib
from collections import defaultdict

from mdpr_fastreid.data.custom.records import Record
from mdpr_fastreid.errors import UsageError


def with_splits(records: list[Record]) -> tuple[list[Record], str]:
    """Give every record one of train, query, gallery.

    Without any split, half of the identities (by hash of their names) train. Test images are parted into queries and
    gallery: one query of each camera of an identity (one in all if cameras are not known), at most half of the
    identity's images, and only if the gallery keeps an image of it under another camera.

    Returns:
        The records, and what was decided in one sentence ("" if nothing was left to decide).

    Raises:
        UsageError: some records have a split and some have none, or there are too few identities to split.
    """
    without = [record for record in records if not record.split]
    said = []
    if without and len(without) < len(records):
        raise UsageError(f"{without[0].path} has no split, yet {len(records) - len(without)} other images have one")
    if without:
        identities = sorted({record.identity for record in records}, key=_hash)
        if len(identities) < 2:
            raise UsageError(
                f"one identity ({identities[0]}) cannot be split into training and test; give each a split"
            )
        train = set(identities[: len(identities) // 2])
        records = [record._replace(split="train" if record.identity in train else "test") for record in records]
        said.append(f"{len(train)} of {len(identities)} identities (by hash of their names) train, the others test")
    if any(record.split == "test" for record in records):
        queries = _queries([record for record in records if record.split == "test"])
        records = [
            record._replace(split="query" if record.path in queries else "gallery")
            if record.split == "test"
            else record
            for record in records
        ]
        said.append(
            f"{len(queries)} of the test images are queries, at most one of each camera of an identity"
            if queries
            else "none of the test images can be a query, as no identity has two images under different cameras"
        )
    return records, "; ".join(said)


def _queries(test: list[Record]) -> set[str]:
    by_identity: dict[str, list[Record]] = defaultdict(list)
    for record in test:
        by_identity[record.identity].append(record)
    return {path for records in by_identity.values() for path in _queries_of(records)}


def _queries_of(records: list[Record]) -> list[str]:
    """The queries of one identity, in the order of its cameras."""
    if not any(record.camera for record in records):  # each image counts as a camera of its own
        return [min(records, key=_key).path] if len(records) > 1 else []
    candidates: dict[str, Record] = {}
    for record in sorted(records, key=_key, reverse=True):
        candidates[record.camera] = record
    chosen: list[Record] = []
    for camera in sorted(candidates):
        attempt = [*chosen, candidates[camera]]
        gallery = {record.camera for record in records if record not in attempt}
        if len(attempt) <= len(records) // 2 and all(gallery - {query.camera} for query in attempt):
            chosen = attempt
    return [query.path for query in chosen]


def _key(record: Record) -> str:
    """Folders may be moved, so only the file's own name counts, and the whole path between equal names."""
    return _hash(record.path.replace("\\", "/").rpartition("/")[2]) + record.path


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
