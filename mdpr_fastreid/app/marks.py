"""Marks of hits as right or wrong, and the manifest that they become."""

import csv
import io
from dataclasses import dataclass, field

from mdpr_fastreid.data.custom.layouts import COLUMNS, MANIFEST
from mdpr_fastreid.data.datasets.base import JUNK
from mdpr_fastreid.errors import UsageError, printable

RIGHT, WRONG, QUERY = "right", "wrong", "query"
OWN_COLUMNS = ("judged", "person")
"""Beside those of a manifest, which reads over them: what was marked, and of which person."""
__all__ = ["MANIFEST", "QUERY", "RIGHT", "WRONG", "Mark", "Marks"]


@dataclass(frozen=True)
class Mark:
    """What is known of an image."""

    path: str
    camera: str
    person: str
    """Whose query it was marked for."""
    kind: str
    """``right``, ``wrong``, or ``query``."""


@dataclass
class Marks:
    """Of each image the last mark, but that what is right for somebody stays so when it is wrong for another."""

    by_path: dict[str, Mark] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.by_path)

    def put(self, mark: Mark) -> None:
        """Note a mark.

        Raises:
            UsageError: it has no person.
        """
        if not mark.person.strip() or mark.person.strip() == str(JUNK):
            raise UsageError("give the person a name first: it becomes the identity in the manifest")
        before = self.by_path.get(mark.path)
        if before and before.kind != WRONG and mark.kind == WRONG and before.person != mark.person:
            return
        self.by_path[mark.path] = mark

    def drop(self, path: str, person: str) -> None:
        """Forget the mark of an image, if it is of this person."""
        if path in self.by_path and self.by_path[path].person == person:
            del self.by_path[path]

    def kind_of(self, path: str, person: str) -> str | None:
        """How an image is marked for a person."""
        mark = self.by_path.get(path)
        if mark is None:
            return None
        if mark.person == person:
            return mark.kind
        return None if mark.kind == WRONG else WRONG

    def manifest(self) -> str:
        """A ``manifest.csv`` that ``DATASETS.CUSTOM`` reads: right hits and their queries train, by the person's name.

        Wrong hits have the identity -1, of junk, as nobody said who they are: they are kept, and nothing trains on
        them.

        Raises:
            UsageError: nothing was marked, or a path cannot stand in a manifest.
        """
        if not self.by_path:
            raise UsageError("nothing is marked yet")
        lines = io.StringIO()
        writer = csv.DictWriter(lines, [*COLUMNS[:4], *OWN_COLUMNS], lineterminator="\n")
        writer.writeheader()
        for mark in self.by_path.values():
            if mark.path != mark.path.strip():
                raise UsageError(f"{printable(mark.path)}: a manifest has no names that begin or end with a space")
            identity = str(JUNK) if mark.kind == WRONG else mark.person.strip()
            row = {"path": mark.path, "identity": identity, "camera": mark.camera, "split": "train"}
            writer.writerow({**row, "judged": mark.kind, "person": mark.person.strip()})
        return lines.getvalue()
