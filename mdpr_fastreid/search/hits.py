"""What a search found, as a picture and as JSON."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageDraw

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.io import need_place, write_whole
from mdpr_fastreid.pictures.canvas import CELL, INK, PAPER, SOFT, photo, write
from mdpr_fastreid.pictures.files import need_picture_place, write_picture
from mdpr_fastreid.search.store import Hit

MOST_DRAWN = 50
"""Queries in a picture."""
MOST_COLUMNS = 20
"""Hits in a picture's row."""

_GAP, _MARGIN, _QUERY_GAP = 8, 14, 26
_LABELS, _ROW_GAP = 58, 14


class Answer(NamedTuple):
    """A query and its hits."""

    path: str
    camera: str
    hits: Sequence[Hit]


def need_places(output: Path, force: bool) -> None:
    """Refuse places that :func:`write_answers` cannot write to, before the search.

    Raises:
        UsageError: ``output`` is no picture or JSON by its suffix, exists and ``force`` is not set, or cannot be
            written.
    """
    if output.suffix.lower() != ".json":
        need_picture_place(output, force)
    record = output.with_suffix(".json")
    if record.exists() and not force:
        raise UsageError(f"{record} exists already; --force replaces it")
    need_place(record)


def write_answers(output: Path, answers: Sequence[Answer], about: Mapping[str, Any]) -> list[Path]:
    """Write ``output`` as a picture, unless it is named ``.json``, and the JSON beside it.

    Args:
        output: of :func:`need_places`.
        answers: one for each query.
        about: of the search, for JSON.

    Returns:
        What was written.

    Raises:
        UsageError: the disk is full.
    """
    record = output.with_suffix(".json")
    content = {**about, "queries": [_record(answer) for answer in answers]}
    write_whole(record, (json.dumps(content, indent=1) + "\n").encode())
    if output.suffix.lower() == ".json":
        return [record]
    write_picture(output, draw_answers(answers[:MOST_DRAWN]))
    return [output, record]


def left_out(answers: Sequence[Answer]) -> str:
    """What a picture of these answers does not show, in words; "" if it shows all."""
    hits = max((len(answer.hits) for answer in answers), default=0)
    parts = [f"the first {MOST_DRAWN} of {len(answers)} queries"] if len(answers) > MOST_DRAWN else []
    parts += [f"the first {MOST_COLUMNS} of up to {hits:,} hits"] if hits > MOST_COLUMNS else []
    return " and ".join(parts)


def draw_answers(answers: Sequence[Answer]) -> Image.Image:
    """A row for each query: itself, then its hits with rank, similarity, camera and name."""
    columns = max(1, max((min(len(answer.hits), MOST_COLUMNS) for answer in answers), default=1))
    first, high = _MARGIN + CELL[0] + _QUERY_GAP, CELL[1] + _LABELS + _ROW_GAP
    width = first + columns * (CELL[0] + _GAP) - _GAP + _MARGIN
    picture = Image.new("RGB", (width, _MARGIN + max(1, len(answers)) * high), PAPER)
    for row, answer in enumerate(answers):
        top = _MARGIN + row * high
        _draw_query(picture, (_MARGIN, top), answer)
        for column, hit in enumerate(answer.hits[:columns]):
            _draw_hit(picture, (first + column * (CELL[0] + _GAP), top), column + 1, hit)
        if not answer.hits:
            write(picture, (first, top + CELL[1] // 2), "no hit", SOFT, width=CELL[0])
    return picture


def _draw_query(picture: Image.Image, place: tuple[int, int], answer: Answer) -> None:
    cell = photo(answer.path)
    ImageDraw.Draw(cell).rectangle((0, 0, cell.width - 1, cell.height - 1), outline=INK, width=3)
    labels = ("query", _camera(answer.camera), Path(answer.path).name)
    _paste(picture, place, cell, labels)


def _draw_hit(picture: Image.Image, place: tuple[int, int], rank: int, hit: Hit) -> None:
    _paste(picture, place, photo(hit.path), (f"{rank}   {hit.score:.3f}", _camera(hit.camera), hit.name))


def _paste(picture: Image.Image, place: tuple[int, int], cell: Image.Image, labels: Sequence[str]) -> None:
    left, top = place
    picture.paste(cell, place)
    for number, (text, ink, size) in enumerate(zip(labels, (INK, SOFT, SOFT), (14, 12, 10), strict=True)):
        write(picture, (left, top + CELL[1] + 3 + 18 * number), text, ink, size=size, width=CELL[0])


def _camera(name: str) -> str:
    return f"camera {name}" if name else "camera unknown"


def _record(answer: Answer) -> dict[str, Any]:
    hits = [
        {
            "rank": rank,
            **hit._asdict(),
            "time": None if math.isnan(hit.time) else hit.time,
        }
        for rank, hit in enumerate(answer.hits, start=1)
    ]
    return {"query": answer.path, "camera": answer.camera, "hits": hits}
