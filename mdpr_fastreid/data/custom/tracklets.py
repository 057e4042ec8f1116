"""The tracklets of a manifest: rows that name one become one record."""

import re
from collections import defaultdict

from mdpr_fastreid.data.custom.records import Record
from mdpr_fastreid.errors import UsageError


def joined(records: list[Record]) -> list[Record]:
    """One record for the images of each tracklet: the first one's, with all of them as its frames.

    Images of one identity that name the same tracklet are its frames, in the order of ``frame`` and of the numbers in
    their paths. Where some image names a tracklet, one that names none is a tracklet by itself.

    Returns:
        The records as they are if none names a tracklet.

    Raises:
        UsageError: a tracklet has two cameras or two splits.
    """
    if not any(record.tracklet for record in records):
        return records
    walks: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for record in sorted(records, key=_time):
        alone = "" if record.tracklet else record.path
        walks[record.identity, record.tracklet, alone].append(record)
    for frames in walks.values():
        _check(frames)
    return [frames[0]._replace(clip=tuple(record.path for record in frames)) for frames in walks.values()]


def _time(record: Record) -> tuple[int, str, str]:
    """2.jpg comes before 10.jpg."""
    return record.frame, re.sub(r"\d+", lambda number: number[0].zfill(20), record.path), record.path


def _check(frames: list[Record]) -> None:
    for what in ("camera", "split"):
        for other in frames[1:]:
            one, two = getattr(frames[0], what), getattr(other, what)
            if one != two:
                raise UsageError(
                    f"tracklet {other.tracklet!r} of identity {other.identity!r} has two {what}s: {one or 'none'} of "
                    f"{frames[0].path}, {two or 'none'} of {other.path}; give two tracklets two names"
                )
