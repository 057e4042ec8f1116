"""MSMT17, version 1 or 2 as asked for; the toolbox's own ``MSMT17`` takes whichever it finds first."""

from pathlib import Path
from typing import ClassVar

from fastreid.data.datasets import DATASET_REGISTRY

from mdpr_fastreid.data.datasets.base import PublishedDataset
from mdpr_fastreid.data.datasets.counts import PUBLISHED_BY_THE_TOOLBOX
from mdpr_fastreid.errors import UsageError


class _MSMT17(PublishedDataset):
    """What both versions share; the counts are those of :class:`MSMT17V1`."""

    published: ClassVar = PUBLISHED_BY_THE_TOOLBOX["MSMT17"]
    image_folders: ClassVar[tuple[str, str]] = ("train", "test")

    def splits(self, folder: Path) -> tuple[list[tuple], list[tuple], list[tuple]]:
        """The images of ``list_train.txt``, ``list_query.txt`` and ``list_gallery.txt``."""
        train_folder, test_folder = (folder / name for name in self.image_folders)
        train = self._listed(folder / "list_train.txt", train_folder, 0)
        # Both splits count from 0, yet their people are different ones
        first = 1 + max((pid for _, pid, _ in train), default=-1)
        query, gallery = (
            self._listed(folder / f"list_{name}.txt", test_folder, first) for name in ("query", "gallery")
        )
        return train, query, gallery

    def _listed(self, list_file: Path, images: Path, first_pid: int) -> list[tuple]:
        self.require(list_file, images)
        items = []
        for number, line in enumerate(list_file.read_text().splitlines(), start=1):
            try:
                name, pid = line.split()
                items.append((str(images / name), int(pid) + first_pid, int(name.split("_")[2]) - 1))
            except (ValueError, IndexError):
                expected = "0000/0000_000_01_0303morning_0015_0.jpg 0"
                raise UsageError(f"{list_file}, line {number}: {line!r} is not like {expected!r}") from None
        return items


@DATASET_REGISTRY.register()
class MSMT17V1(_MSMT17):
    """MSMT17, the first version, with faces.

    Wei et al., "Person Transfer GAN to Bridge Domain Gap for Person Re-Identification", CVPR 2018;
    https://www.pkuvmc.com/dataset.html

    ::

        MSMT17_V1/{list_train,list_val,list_query,list_gallery}.txt
        MSMT17_V1/{train,test}/0000/0000_000_01_0303morning_0015_0.jpg

    * train: 30,248 images of 1,041 identities; the paper's 32,621 include ``list_val.txt``, which the
      toolbox leaves out
    * query: 11,659 images of 3,060 identities
    * gallery: 82,161 images of 3,060 identities
    * 15 cameras, the third number of a file's name
    """

    dataset_name = "msmt17v1"
    folders = ("MSMT17_V1",)


@DATASET_REGISTRY.register()
class MSMT17V2(_MSMT17):
    """MSMT17, the second version: the images, lists and counts of :class:`MSMT17V1`, with faces masked.

    ::

        MSMT17_V2/{list_train,list_val,list_query,list_gallery}.txt
        MSMT17_V2/{mask_train_v2,mask_test_v2}/0000/0000_000_01_0303morning_0015_0.jpg
    """

    dataset_name = "msmt17v2"
    folders = ("MSMT17_V2",)
    image_folders = ("mask_train_v2", "mask_test_v2")
