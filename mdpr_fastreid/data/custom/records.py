"""What a user says of an image."""

from typing import NamedTuple


class Record(NamedTuple):
    """One image, or tracklet, as the user describes it; what is not known is empty."""

    path: str
    """Of the image, or of the first frame."""
    identity: str
    camera: str = ""
    split: str = ""
    """One of :data:`~mdpr_fastreid.data.custom.layouts.SPLITS`; ``test`` is still to be parted into query and
    gallery."""
    mask: str = ""
    frame: int = 0
    tracklet: str = ""
    """Its name, which is the identity's own."""
    clip: tuple[str, ...] = ()
    """The frames of a tracklet in order of time."""
