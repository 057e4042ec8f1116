"""What a batch can hold beside the labels: the image, and fields that a method asks for by name in ``INPUT.FIELDS``.

A field says which key of the batch it has, how it is read from an item's files, how it becomes a tensor, and what
happens to it where pixels are replaced. Everything else (resizing, padding, cropping, mirroring, the affine transform)
comes from its type: pictures of Pillow's and the classes of ``torchvision.tv_tensors`` follow the image, alone or in a
list; anything else is left as it was read.

    @FIELD_REGISTRY.register()
    class View(Field):
        name, key = "view", "views"

        def read(self, files):
            return int(Path(files).read_text())

        def to_tensor(self, value, planes):
            return torch.tensor(value)

and ``INPUT.FIELDS ("view",)`` put ``batch["views"]``, ``[B]``, beside ``batch["images"]`` if the items of the data set
have ``fields={"view": file}``.
"""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from fastreid.config import CfgNode
from PIL import Image
from torch import Tensor

from mdpr_fastreid.config.names import NamedRegistry, registered
from mdpr_fastreid.data.items import Files, fields_of
from mdpr_fastreid.data.label_maps import LabelMap, UnlabelledMap, label_map_class
from mdpr_fastreid.data.masks.groups import UNLABELLED, UnknownLabelError, groups_of
from mdpr_fastreid.data.masks.label_images import refuse_arrays
from mdpr_fastreid.data.reading import DamagedImageError, read_image, read_labels
from mdpr_fastreid.errors import UsageError

logger = logging.getLogger("fastreid.data.fields")


FIELD_REGISTRY = NamedRegistry("FIELD")
"""Classes derived from :class:`Field`, by the names that ``INPUT.FIELDS`` and ``Item.fields`` use."""

Region = tuple
"""An index of the pixels of a rectangle in a tensor ``[..., H, W]``."""

COLOURS = 3
"""Planes of an image; one more, where random erasing may have to mark pixels, is 1 at what was erased."""

IMAGES = "images"
"""The image in a sample and in a batch."""


class Field:
    """One field of a sample.

    Args:
        cfg: the whole config.
        is_train: whether the samples are for training.

    Attributes:
        name: in ``INPUT.FIELDS`` and in ``Item.fields``.
        key: in the batch.
        in_bytes: whether its tensor holds bytes ``[..., 3 or 4, H, W]`` that the loader turns into floats
            ``[..., 3, H, W]``.
        draws_alone: whether what it reads is a list of pictures that do not follow the image: each goes through all
            transforms by draws of its own, as if it were an image.
        with_image: whether the samples have the image, too.
    """

    name: str
    key: str
    in_bytes = False
    draws_alone = False
    with_image = True

    def __init__(self, cfg: CfgNode, is_train: bool) -> None:
        self.is_train = is_train

    def of_set(self, items: list[tuple]) -> list[tuple]:
        """All items of a data set, with files of the field that follow from other items; by default as they are.

        Args:
            items: the number and the order of those that are returned are the same.
        """
        return items

    def files(self, item: tuple) -> Files:
        """The files of an item.

        Raises:
            UsageError: the item has none for this field.
        """
        files = fields_of(item).get(self.name)
        if not files:
            raise UsageError(
                f"{item[0]}: its data set gives no {self.name} for this image; INPUT.FIELDS asks for one of each"
            )
        return files

    def read(self, files: Files) -> Any:
        """What the files hold: a picture, a ``tv_tensors`` object, a list of them, or anything else."""
        raise NotImplementedError

    def read_for(self, item: tuple, image: Image.Image | None) -> Any:
        """What an item's files hold.

        Args:
            item: of the data set.
            image: of the item, perhaps resized, for a field that may stand for no file; None in batches without images.
        """
        return self.read(self.files(item))

    def damage_report(self) -> str | None:
        """What to say at the end of a training about files that could not be read; None if nothing."""
        return None

    def to_tensor(self, value: Any, planes: int) -> Tensor:
        """The tensor of a sample.

        Args:
            value: as read and transformed.
            planes: of a picture in bytes: 3, or 4 where the last one is to mark what is erased.
        """
        return torch.as_tensor(value)

    def noise(self, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        """A made-up sample, as it is in a batch, for benchmarks.

        Args:
            size: height and width of the image.
            generator: what draws it.

        Raises:
            UsageError: the field makes none up.
        """
        raise UsageError(f"the field {self.name} has no noise(): a benchmark needs a made-up sample of it")

    def erase(self, tensor: Tensor, region: Region) -> None:
        """Change the tensor in place where the image is erased; by default nothing."""

    def paste(self, tensor: Tensor, patch: Tensor, region: Region) -> None:
        """Change the tensor in place where a patch ``[3 or 4, h, w]`` covers the image; by default nothing."""


@FIELD_REGISTRY.register()
class ImageField(Field):
    """The image itself, in every batch: ``images``, ``[B, 3, H, W]`` in float32 from 0 to 255."""

    name, key = "image", IMAGES
    in_bytes = True

    def files(self, item: tuple) -> Files:
        return item[0]

    def read(self, files: Files) -> Any:
        return read_image(files)

    def to_tensor(self, value: Image.Image | np.ndarray, planes: int) -> Tensor:
        pixels = np.asarray(value)
        coded = np.zeros((planes, *pixels.shape[:2]), np.uint8)
        coded[:COLOURS] = pixels.transpose(2, 0, 1)
        return torch.from_numpy(coded)

    def noise(self, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        return torch.rand(COLOURS, *size, generator=generator) * 255

    def erase(self, tensor: Tensor, region: Region) -> None:
        tensor[..., COLOURS, :, :][region] = 1

    def paste(self, tensor: Tensor, patch: Tensor, region: Region) -> None:
        tensor[region] = patch


class _OtherSizeError(UsageError):
    """A label image that is not as large as its image."""


_UNUSABLE = (DamagedImageError, UnknownLabelError, _OtherSizeError)


def _unlabelled(size: Sequence[int]) -> UnlabelledMap:
    return UnlabelledMap(torch.full((1, *size), UNLABELLED, dtype=torch.uint8))


@FIELD_REGISTRY.register()
class MaskField(Field):
    """A label map: ``masks``, ``[B, H, W]`` in uint8; 0 where the image is padded, erased or covered by a patch.

    ``INPUT.MASK.GROUPS`` names the grouping whose classes the labels are; without, they are as a label image has them.
    An image without a mask is ``UNLABELLED`` everywhere, whatever is done to it: always in evaluation, in training
    where ``INPUT.MASK.MISSING`` is "ignore", and else it is an error. In evaluation so is an image whose mask cannot be
    used, as the ranking does not depend on it; the first of each kind is a warning.
    """

    name, key = "mask", "masks"

    def __init__(self, cfg: CfgNode, is_train: bool) -> None:
        super().__init__(cfg, is_train)
        self.groups = groups_of(cfg)
        self.size = cfg.INPUT.SIZE_TRAIN if is_train else cfg.INPUT.SIZE_TEST
        self.may_be_missing = not is_train or cfg.INPUT.MASK.MISSING == "ignore"
        self.has_image_size = self.groups is None or self.groups.of_image_size
        self.resized_before = is_train and bool(cfg.DATALOADER.CACHE)
        # Images that were resized before whose masks have been compared with their files, in this process
        self.compared: set[str] = set()
        # Of each kind of unusable mask, whether any worker has warned of it
        self.warned = torch.zeros(len(_UNUSABLE), dtype=torch.uint8).share_memory_()

    def read_for(self, item: tuple, image: Image.Image) -> LabelMap:
        """As of :class:`Field`.

        Raises:
            UsageError: the image has no mask and needs one; in training, its mask is damaged or does not fit.
        """
        size = [image.height, image.width]
        if not fields_of(item).get(self.name) and self.may_be_missing:
            return _unlabelled(size)
        if self.is_train:
            return self._read_of_size(item, size)
        try:
            return self._read_of_size(item, size)
        except _UNUSABLE as error:
            self._warn_once(error)
            return _unlabelled(size)

    def _warn_once(self, error: UsageError) -> None:
        kind = next(number for number, kind in enumerate(_UNUSABLE) if isinstance(error, kind))
        if not self.warned[kind]:
            self.warned[kind] = 1
            logger.warning(
                "%s. In evaluation an image with such a mask counts as one without; `mdpr data` lists them", error
            )

    def _read_of_size(self, item: tuple, size: list[int]) -> LabelMap:
        labels = self.read(self.files(item))
        if not self.has_image_size or item[0] in self.compared:
            return labels
        found = list(labels.shape[1:])
        if self.resized_before:
            with Image.open(item[0]) as image:  # its header alone
                size = [image.height, image.width]
            if sorted(found) == sorted(size):  # a camera held upright is in the header, too
                self.compared.add(item[0])
                return labels
        if found != size:
            raise _OtherSizeError(
                f"{item[0]}: masks of {found} pixels beside an image of {size}: "
                f"{self.files(item)} is to be as large as its image"
            )
        return labels

    def read(self, files: Files) -> LabelMap:
        if self.groups is None:
            refuse_arrays(files, "the field mask")
            return LabelMap(read_labels(files)[None])
        kind = label_map_class(tuple(map(tuple, self.groups.mirror)))
        return kind(self.groups.read(files, self.size)[None])

    def to_tensor(self, value: LabelMap, planes: int) -> Tensor:
        labels = value.as_subclass(Tensor)[0]
        return torch.full_like(labels, UNLABELLED) if isinstance(value, UnlabelledMap) else labels

    def noise(self, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        classes = 2 if self.groups is None else len(self.groups.parts) + 1  # some part is in every label map
        return torch.randint(classes, size, dtype=torch.uint8, generator=generator)

    def erase(self, tensor: Tensor, region: Region) -> None:
        if (tensor != UNLABELLED).any():
            tensor[region] = 0

    def paste(self, tensor: Tensor, patch: Tensor, region: Region) -> None:
        self.erase(tensor, region)


def build_fields(cfg: CfgNode, is_train: bool) -> tuple[Field, ...]:
    """The image, and the fields that ``INPUT.FIELDS`` names; in training without the image if the config says so.

    Raises:
        UsageError: a name that is not registered, or is there twice; settings that contradict each other.
    """
    names = tuple(name for name in cfg.INPUT.get("FIELDS", ()) if name != ImageField.name)
    if len(set(names)) < len(names):
        raise UsageError(f"INPUT.FIELDS {tuple(cfg.INPUT.FIELDS)} names a field twice")
    fields = tuple(registered(FIELD_REGISTRY, name)(cfg, is_train) for name in names)
    if not all(field.with_image for field in fields):
        return fields
    return (ImageField(cfg, is_train), *fields)
