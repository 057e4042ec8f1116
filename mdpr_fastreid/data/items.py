"""What a data set lists: an image, whose it is, and the files of what else is known of it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

Files = str | tuple["Files", ...]
"""The file of a field, or several: the frames of a tracklet, tracklets of frames."""

NO_FIELDS: Mapping[str, Files] = MappingProxyType({})


class Item(tuple):
    """An item as FastReID's are, ``(path, identity, camera)``, with the files of further fields as an attribute.

    It has three parts for whoever unpacks or indexes it, so all of FastReID's code takes it.

    Args:
        path: of the image.
        pid: the identity, a number, or a text that is one for all data sets together.
        camid: the camera, in the same way.
        fields: by the names of fields (:data:`~mdpr_fastreid.data.fields.FIELD_REGISTRY`): ``{"mask": "a/1.png"}``.
    """

    fields: Mapping[str, Files]

    def __new__(cls, path: str, pid: Any, camid: Any, fields: Mapping[str, Files] = NO_FIELDS) -> "Item":
        item = super().__new__(cls, (path, pid, camid))
        item.fields = fields
        return item

    def __getnewargs__(self) -> tuple:
        """For copies, and for processes that are sent it."""
        return (*self, dict(self.fields))

    def __repr__(self) -> str:
        return f"Item{(*self, dict(self.fields))}"


def fields_of(item: tuple) -> Mapping[str, Files]:
    """The files of an item's further fields; none for a plain tuple."""
    return getattr(item, "fields", NO_FIELDS)


def with_files(item: tuple, field: str, files: Files) -> Item:
    """The item with other files of a field."""
    return Item(*item[:3], {**fields_of(item), field: files})


def relabelled(item: tuple, pid: Any, camid: Any) -> tuple:
    """The item with another identity and camera, and the same files."""
    fields = fields_of(item)
    return Item(item[0], pid, camid, fields) if fields else (item[0], pid, camid)
