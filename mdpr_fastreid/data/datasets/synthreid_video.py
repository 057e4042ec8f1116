"""SynthReID's tracklets in FastReID's registry, rendered when they are first asked for."""

import os

from fastreid.data.datasets import DATASET_REGISTRY

from mdpr_fastreid.data.datasets.synthreid import Rendered
from mdpr_fastreid.data.synth.identity import TEST, TRAIN
from mdpr_fastreid.data.synth.plan import TRACKLET_FOLDERS, query_tracklets
from mdpr_fastreid.data.tracklets import Tracklet, list_tracklets, tracklet_item


class SynthReIDTracklets(Rendered):
    """A set of tracklets. Of an identity of test, the first one under each of its first three cameras is a query."""

    def splits(self) -> tuple[list[tuple], list[tuple], list[tuple]]:
        """The tracklets of the two folders, those of test parted into queries and gallery."""
        train, test = (self._tracklets(TRACKLET_FOLDERS[split]) for split in (TRAIN, TEST))
        chosen = query_tracklets((walk.pid, walk.camid) for walk in test)
        query, gallery = (
            [_item(walk) for walk, is_query in zip(test, chosen, strict=True) if is_query == wanted]
            for wanted in (True, False)
        )
        return list(map(_item, train)), query, gallery

    def _tracklets(self, folder: str) -> list[Tracklet]:
        """Those in a folder, in the order of their numbers."""
        walks = list_tracklets(os.path.join(self.dataset_dir, folder))
        return sorted(walks, key=lambda walk: (walk.pid, walk.track))


def _item(walk: Tracklet) -> tuple:
    return tracklet_item(walk.paths, walk.pid, walk.camid)


@DATASET_REGISTRY.register()
class SynthReIDClipsTiny(SynthReIDTracklets):
    """6 + 6 identities, 36 / 18 / 18 tracklets (train / query / gallery) of 8 frames: for tests."""

    preset = "clips_tiny"


@DATASET_REGISTRY.register()
class SynthReIDClips(SynthReIDTracklets):
    """48 + 48 identities, 288 / 144 / 144 tracklets of 8 frames: for a first run on a CPU."""

    preset = "clips"


@DATASET_REGISTRY.register()
class SynthReIDVideo(SynthReIDTracklets):
    """625 + 636 identities, 8,298 / 1,908 / 7,422 tracklets of 8 frames: MARS's identities."""

    preset = "video"
