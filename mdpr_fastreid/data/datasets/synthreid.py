"""SynthReID in FastReID's registry: the embedded data set, rendered when it is first asked for."""

import logging
import os
import re
from pathlib import Path

from fastreid.data.datasets import DATASET_REGISTRY

from mdpr_fastreid.data.datasets.base import ItemDataset
from mdpr_fastreid.data.items import Item
from mdpr_fastreid.data.synth import DEFAULT_SIZE, PRESETS, RenderError, Request, departures, ensure, mask_path, verify
from mdpr_fastreid.data.synth.plan import GALLERY_FOLDER, JUNK, QUERY_FOLDER, TRAIN_FOLDER
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.progress import counted

logger = logging.getLogger(__name__)

_NAME = re.compile(r"^(-?\d+)_c(\d)s\d_\d+_\d+\.jpg$")


class RenderedSetError(UsageError, RuntimeError):
    """A rendered set that cannot be rendered, or is not what was rendered any more."""


class Rendered(ItemDataset):
    """What the rendered sets share; see ``docs/reference/synthreid.md``. A subclass implements ``splits``.

    Names, counts and sizes of its files are compared with its manifest; hashes are by :meth:`change_since_rendered`.

    Args:
        root: the data root; the set lies in ``ROOT/synthreid-<preset>`` and is rendered there (seed 0, 128 x 64) if it
            is not. A set rendered by ``mdpr synth`` with another seed, size or knobs is used, and the log says so.
        **kwargs: as of FastReID's ``ImageDataset``.

    Raises:
        RenderedSetError: the set cannot be rendered, or a file was removed, added or changed; the message says which.
    """

    preset = ""

    def __init__(self, root: str = "datasets", **kwargs):
        self.dataset_name = f"synthreid_{self.preset}"
        self.dataset_dir = str(self._rendered(root))
        super().__init__(*self.splits(), **kwargs)

    def splits(self) -> tuple[list[tuple], list[tuple], list[tuple]]:
        """The items of training, query and gallery, identities and cameras as numbers."""
        raise NotImplementedError

    def change_since_rendered(self) -> str:
        """What is not as it was rendered, by the hash of every file; "" for a set that is whole."""
        try:
            verify(Path(self.dataset_dir))
        except RenderError as error:
            return str(error)
        return ""

    def _rendered(self, root: str) -> Path:
        preset = PRESETS[self.preset]
        progress = counted(f"rendering {type(self).__name__}")
        try:
            folder = ensure(root, preset, workers=os.cpu_count() or 1, progress=progress, as_found=True)
            changed = departures(folder, Request(preset, 0, DEFAULT_SIZE))
        except RenderError as error:
            raise RenderedSetError(f"{type(self).__name__}: {error}") from error
        if changed:
            what = f"{type(self).__name__}: {folder} is used with {', '.join(changed)}"
            logger.warning(f"{what}; without the folder it is rendered as the preset has it")
        return folder


class SynthReID(Rendered):
    """A set of images. Items have the field ``mask``."""

    def splits(self) -> tuple[list[tuple], list[tuple], list[tuple]]:
        """The images of the three folders."""
        folders = [os.path.join(self.dataset_dir, name) for name in (TRAIN_FOLDER, QUERY_FOLDER, GALLERY_FOLDER)]
        self.check_before_run(folders)
        train, query, gallery = map(self._items, folders)
        return train, query, gallery

    def _items(self, folder: str) -> list[tuple]:
        items = []
        masks = _masks_of(folder)
        for name in sorted(os.listdir(folder)):
            found = _NAME.match(name)
            if found is None:
                continue
            pid, camid = int(found[1]), int(found[2]) - 1
            if pid == JUNK:
                continue
            path = os.path.join(folder, name)
            mask = mask_path(path)
            items.append(Item(path, pid, camid, {"mask": mask} if os.path.basename(mask) in masks else {}))
        return items


def _masks_of(folder: str) -> set[str]:
    """The names of the masks of a folder's images; none if somebody has removed them."""
    masks = os.path.dirname(mask_path(os.path.join(folder, "any.jpg")))
    return set(os.listdir(masks)) if os.path.isdir(masks) else set()


@DATASET_REGISTRY.register()
class SynthReIDTiny(SynthReID):
    """16 + 16 identities, 256 / 32 / 200 images (train / query / gallery): for tests."""

    preset = "tiny"


@DATASET_REGISTRY.register()
class SynthReIDDemo(SynthReID):
    """64 + 64 identities, 1,300 / 128 / 900 images: for a first run on a CPU."""

    preset = "demo"


@DATASET_REGISTRY.register()
class SynthReIDSmall(SynthReID):
    """160 + 200 identities, 1,920 / 600 / 2,200 images, few look-alikes: for trainings to the end on a CPU."""

    preset = "small"


@DATASET_REGISTRY.register()
class SynthReIDBase(SynthReID):
    """751 + 750 identities, 12,936 / 3,368 / 15,913 images: Market-1501's size."""

    preset = "base"


@DATASET_REGISTRY.register()
class SynthReIDOccluded(SynthReID):
    """702 + 519 identities, 15,618 / 2,210 / 17,661 images, all queries occluded: Occluded-Duke's size."""

    preset = "occluded"


@DATASET_REGISTRY.register()
class SynthReIDOccludedTiny(SynthReID):
    """16 + 16 identities, 256 / 32 / 200 images, all queries occluded: for tests."""

    preset = "occluded_tiny"


@DATASET_REGISTRY.register()
class SynthReIDOccludedDemo(SynthReID):
    """64 + 64 identities, 1,300 / 128 / 900 images, all queries occluded: for runs on a CPU."""

    preset = "occluded_demo"


@DATASET_REGISTRY.register()
class SynthReIDOccludedSmall(SynthReID):
    """160 + 200 identities, 1,920 / 600 / 2,200 images, few look-alikes, all queries occluded: as ``small``."""

    preset = "occluded_small"
