"""``mdpr ranklist``'s folder: a picture for each query that was chosen, ``ranklist.json`` and ``index.html``."""

import io
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.evaluation import Measured, rank_lists, ranked_gallery
from mdpr_fastreid.io import need_place, write_whole
from mdpr_fastreid.pictures.rank_list import Ranked, RankList, Shown, draw_rank_list
from mdpr_fastreid.pictures.trained import Evaluated

INDEX, RECORD, PICTURES = "index.html", "ranklist.json", "queries"
KINDS = ("worst", "best")
_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("mdpr_fastreid.pictures"), autoescape=True, undefined=jinja2.StrictUndefined
)


class Chosen(NamedTuple):
    """A query worth looking at."""

    kind: str
    """``worst`` or ``best``."""
    number: int
    """Of its kind, from 1 on."""
    ranked: RankList

    @property
    def picture(self) -> str:
        """Its file, below the folder."""
        return f"{PICTURES}/{self.kind}-{self.number:03d}.jpg"


def need_folder(folder: Path, force: bool) -> None:
    """Refuse a folder that holds something, unless it is this command's and may be replaced.

    Raises:
        UsageError: it has other files, or may not be replaced, or cannot be written.
    """
    if folder.is_dir() and (found := {path.name for path in folder.iterdir()}):
        if not found <= {INDEX, RECORD, PICTURES}:
            raise UsageError(f"{folder} holds other files: name a new folder")
        if not force:
            raise UsageError(f"{folder} exists already; --force replaces it")
    need_place(folder / INDEX)


def choose(evaluated: Evaluated, measured: Measured, worst: int, best: int, length: int) -> list[Chosen]:
    """The queries with the lowest average precision, lowest first, and those with the highest, highest first.

    Args:
        evaluated: outputs and labels of the test set.
        measured: its ranking.
        worst: how many, at most.
        best: how many, at most, of the rest.
        length: of the lists.
    """
    lists = rank_lists(measured, evaluated.collected, 1)
    order = np.argsort(lists.average_precision, kind="stable")
    rest = order[worst:][::-1]
    rows = [("worst", row, number) for number, row in enumerate(order[:worst], start=1)]
    rows += [("best", row, number) for number, row in enumerate(rest[:best], start=1)]
    return [
        Chosen(
            kind, number, _rank_list(evaluated, measured, int(lists.query[row]), lists.average_precision[row], length)
        )
        for kind, row, number in rows
    ]


def _rank_list(evaluated: Evaluated, measured: Measured, query: int, precision: float, length: int) -> RankList:
    collected = evaluated.collected
    ranked = ranked_gallery(measured, collected, query)

    def shown(index: int) -> Shown:
        return Shown(Path(evaluated.paths[index]), int(collected.identities[index]), int(collected.cameras[index]))

    def at(place: int) -> Ranked:
        image = shown(collected.num_query + int(ranked.gallery[place]))
        return Ranked(place + 1, image, float(ranked.distance[place]), bool(ranked.correct[place]))

    top = [at(place) for place in range(min(length, len(ranked.gallery)))]
    positives = [at(int(rank) - 1) for rank in ranked.ranks_of_positives]
    return RankList(shown(query), precision, top, positives, len(ranked.gallery))


def write_pages(folder: Path, chosen: Sequence[Chosen], about: Mapping[str, Any]) -> None:
    """Write the pictures, the record, and last the page; an older one is taken away first.

    Args:
        folder: of :func:`need_folder`.
        chosen: the queries.
        about: of the model, the test set and its metrics.

    Raises:
        UsageError: the disk is full.
    """
    (folder / INDEX).unlink(missing_ok=True)
    shutil.rmtree(folder / PICTURES, ignore_errors=True)
    for one in chosen:
        content = io.BytesIO()
        draw_rank_list(one.ranked).save(content, "JPEG", quality=88)
        write_whole(folder / one.picture, content.getvalue())
    record = {**about, "queries": [_record(one) for one in chosen]}
    write_whole(folder / RECORD, (json.dumps(record, indent=2) + "\n").encode())
    page = _TEMPLATES.get_template("ranklist.html").render(about=about, kinds=KINDS, chosen=chosen, record=RECORD)
    write_whole(folder / INDEX, page.encode())


def _record(one: Chosen) -> dict[str, Any]:
    ranked = one.ranked
    return {
        "picture": one.picture,
        "kind": one.kind,
        "query": _image(ranked.query),
        "average_precision": ranked.average_precision,
        "counted": ranked.counted,
        "ranks": [_of_rank(each) for each in ranked.top],
        "positives": [_of_rank(each) for each in ranked.positives],
    }


def _of_rank(one: Ranked) -> dict[str, Any]:
    return {"rank": one.rank, **_image(one.image), "distance": one.distance, "correct": one.correct}


def _image(image: Shown) -> dict[str, Any]:
    return {"path": str(image.path), "identity": image.identity, "camera": image.camera}
