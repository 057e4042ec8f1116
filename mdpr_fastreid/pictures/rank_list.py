"""A query with the gallery as a model ranks it: which ranks are right, and where the missed positives stand."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw

from mdpr_fastreid.pictures.canvas import CELL, INK, PAPER, RIGHT, SOFT, WRONG, badge, framed, photo, write

_GAP, _MARGIN, _QUERY_GAP = 8, 14, 26
_TITLE, _LABELS, _SUBTITLE = 34, 40, 30


class Shown(NamedTuple):
    """A test image."""

    path: Path
    identity: int
    camera: int


class Ranked(NamedTuple):
    """A gallery image at its rank."""

    rank: int
    """From 1 on; junk has none and is not counted."""
    image: Shown
    distance: float
    correct: bool


class RankList(NamedTuple):
    """What is shown of a query."""

    query: Shown
    average_precision: float
    """0 to 1."""
    top: Sequence[Ranked]
    """The first ranks."""
    positives: Sequence[Ranked]
    """All of them, by their ranks."""
    counted: int
    """Gallery images that count for this query."""

    @property
    def missed(self) -> list[Ranked]:
        """The positives behind the first ranks."""
        return [positive for positive in self.positives if positive.rank > len(self.top)]

    @property
    def title(self) -> str:
        """The query and how well it is answered, in a line."""
        found = len(self.positives) - len(self.missed)
        return (
            f"Identity {self.query.identity}, camera {self.query.camera}: AP {100 * self.average_precision:.0f} %, "
            f"{found} of {len(self.positives)} positives in the first {len(self.top)} of {self.counted:,}"
        )


def draw_rank_list(ranked: RankList) -> Image.Image:
    """The query, the first ranks framed by correctness, and below them the positives that were missed."""
    missed, columns = ranked.missed, max(5, len(ranked.top))
    first = _MARGIN + CELL[0] + _QUERY_GAP
    width = first + columns * (CELL[0] + _GAP) - _GAP + _MARGIN
    high = CELL[1] + _LABELS
    picture = Image.new("RGB", (width, _TITLE + high + (_SUBTITLE + high if missed else 0) + _GAP), PAPER)
    write(picture, (_MARGIN, 8), ranked.title, INK, size=16, width=width - 2 * _MARGIN)
    _paste(picture, (_MARGIN, _TITLE), _query(ranked.query), "query", f"camera {ranked.query.camera}")
    for column, one in enumerate(ranked.top):
        _paste_ranked(picture, (first + column * (CELL[0] + _GAP), _TITLE), one)
    if missed:
        top = _TITLE + high
        more = f", the first {columns} of {len(missed)}" if len(missed) > columns else ""
        last = f"; the last one at rank {missed[-1].rank:,}" if len(missed) > 1 else ""
        write(picture, (first, top + 8), f"Missed: positives behind rank {len(ranked.top)}{more}{last}", INK, size=14)
        for column, one in enumerate(missed[:columns]):
            _paste_ranked(picture, (first + column * (CELL[0] + _GAP), top + _SUBTITLE), one)
        _draw_key(picture, (_MARGIN, top + _SUBTITLE))
    return picture


def _query(query: Shown) -> Image.Image:
    cell = photo(query.path)
    ImageDraw.Draw(cell).rectangle((0, 0, cell.width - 1, cell.height - 1), outline=INK, width=3)
    return cell


def _paste_ranked(picture: Image.Image, place: tuple[int, int], one: Ranked) -> None:
    cell = framed(photo(one.image.path), one.correct)
    _paste(picture, place, cell, f"rank {one.rank:,}", f"{one.distance:.3f} · cam {one.image.camera}")


def _paste(picture: Image.Image, place: tuple[int, int], cell: Image.Image, first: str, second: str) -> None:
    left, top = place
    picture.paste(cell, place)
    write(picture, (left, top + CELL[1] + 3), first, INK, size=13)
    write(picture, (left, top + CELL[1] + 20), second, SOFT, size=11)


def _draw_key(picture: Image.Image, place: tuple[int, int]) -> None:
    left, top = place
    for number, (correct, word, ink) in enumerate(((True, "same", RIGHT), (False, "other", WRONG))):
        y = top + number * 40
        picture.paste(badge(correct), (left, y))
        write(picture, (left + 36, y), word, ink, size=13)
        write(picture, (left + 36, y + 14), "person", ink, size=13)
