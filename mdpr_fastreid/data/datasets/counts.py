"""Counts of data sets: as their papers give them, and as they are found."""

from typing import NamedTuple

from mdpr_fastreid.data.tracklets import frames_of


class Count(NamedTuple):
    """Identities and images of one split."""

    identities: int
    images: int

    unit = "images"

    def __str__(self) -> str:
        return f"{self.images:,} {self.unit} of {self.identities:,} identities"

    @classmethod
    def of(cls, items: list[tuple]) -> "Count":
        """Of items; a distractor counts as one identity, as in the papers' tables."""
        return cls(len({item[1] for item in items}), len(items))


class TrackletCount(Count):
    """Identities and tracklets, which are the items."""

    unit = "tracklets"


class FrameCount(Count):
    """Identities and frames, where a paper counts these and not the tracklets that they are taken for."""

    unit = "images in tracklets"

    @classmethod
    def of(cls, items: list[tuple]) -> "Count":
        """As of :class:`Count`."""
        return cls(len({item[1] for item in items}), sum(len(frames_of(item)) for item in items))


PUBLISHED_BY_THE_TOOLBOX = {
    "Market1501": {"train": Count(751, 12_936), "query": Count(750, 3_368), "gallery": Count(751, 15_913)},
    "DukeMTMC": {"train": Count(702, 16_522), "query": Count(702, 2_228), "gallery": Count(1_110, 17_661)},
    "MSMT17": {"train": Count(1_041, 30_248), "query": Count(3_060, 11_659), "gallery": Count(3_060, 82_161)},
}
"""Published counts of the sets whose classes are the toolbox's, as these load them; no class of ours repeats them."""
