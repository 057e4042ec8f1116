"""The way of a batch, step by step in the order in which they happen.

    1. read       the files of an item's fields            data/items.py, data/fields.py, data/reading.py
                  (a damaged one is an error, or another item takes its place: data/damaged.py)
    2. resize     the image, once for all epochs           data/resized.py      DATALOADER.CACHE
    3. transform  all fields by the same draws             data/transforms.py   INPUT.*
    4. bytes      a tensor of each field                   data/fields.py, data/erased.py
    5. collate    samples to a batch, in shared memory     here
       ----- from a loader's worker to the process that trains -----
    6. prefetch   and move to the device                   data/loaders.py
    7. floats     of the bytes                             here

Steps 1 to 4 are :class:`FieldDataset`, a worker's work on one item. Bytes are a quarter of the floats that FastReID
sends, and only random erasing puts anything but whole numbers into an image: a bit for each pixel says where.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from fastreid.data.common import CommDataset
from torch import Tensor
from torch.utils.data import get_worker_info

from mdpr_fastreid.data.damaged import Substitutes
from mdpr_fastreid.data.erased import erased_in, erased_key
from mdpr_fastreid.data.fields import IMAGES
from mdpr_fastreid.data.reading import DamagedImageError, read_image
from mdpr_fastreid.data.resized import ResizedImages
from mdpr_fastreid.data.transforms import JointTransforms, Sample
from mdpr_fastreid.errors import UsageError


class FieldDataset(CommDataset):
    """FastReID's data set over items, with further fields beside the image.

    ``dataset[i]`` is a dict as FastReID's, in floats: ``images`` ``[3, H, W]``, ``targets``, ``camids``, ``img_paths``,
    and the key of each further field. In the workers of our loaders pictures are bytes, see :func:`to_floats`.

    Args:
        items: ``(path, identity, camera)``, or :class:`~mdpr_fastreid.data.items.Item` with the files of fields.
        transforms: and with them the fields, see :func:`~mdpr_fastreid.data.transforms.build_transforms`.
        relabel: whether identities and cameras are numbered from 0, as training needs them.
        skip_damaged: whether another item of the identity takes the place of one that cannot be read.
        check_command: lists all damaged images, e.g. ``mdpr data Market1501``.
    """

    def __init__(
        self,
        items: list[tuple],
        transforms: JointTransforms,
        *,
        relabel: bool = True,
        skip_damaged: bool = False,
        check_command: str = "mdpr data",
    ) -> None:
        for field in transforms.fields:
            items = field.of_set(items)
        super().__init__(items, transforms, relabel)
        # Keeps the resized images, if set; the transforms begin with resizing to its size
        self.resized: ResizedImages | None = None
        self.substitutes = Substitutes(items) if skip_damaged else None
        self.check_command = check_command
        self.in_bytes = [field.key for field in transforms.fields if field.in_bytes]
        self._sends_bytes = False

    def __getitem__(self, index: int) -> dict[str, Any]:
        index, sample = self._read_or_substitute(int(index))
        path, pid, camid = self.img_items[index][:3]
        try:
            sample = self.transform(sample)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from None
        if not self._sends_bytes:
            sample = self.to_floats(sample)
        sample["targets"] = self.pid_dict[pid] if self.relabel else pid
        sample["camids"] = self.cam_dict[camid] if self.relabel else camid
        sample["img_paths"] = path
        return sample

    def _read_or_substitute(self, index: int) -> tuple[int, Sample]:
        if self.substitutes is None:
            try:
                return index, self._read(index)
            except DamagedImageError as error:
                raise UsageError(f"{error}. {self._way_out()}") from None
        state = torch.get_rng_state()
        for candidate in self.substitutes.candidates(index):
            try:
                return candidate, self._read(candidate)
            except DamagedImageError as error:
                self.substitutes.note(candidate, error)
                torch.set_rng_state(state)  # as if it had been known to be damaged, whichever worker was first to see
        path, identity = self.img_items[index][:2]
        raise UsageError(
            f"{path}: every image of identity {identity} is damaged, so none can take its place: repair one, or take "
            f"the identity out. `{self.check_command}` lists them"
        )

    def _way_out(self) -> str:
        lists = f"`{self.check_command}` lists all damaged images"
        if self.relabel:
            return f"{lists}; DATALOADER.SKIP_DAMAGED True trains without them"
        return f"{lists}; an evaluation needs every image: repair it, or take it out of the set"

    def _read(self, index: int) -> Sample:
        item, sample = self.img_items[index], {}
        for field in self.transform.fields:
            if field.key == IMAGES and self.resized is not None:
                sample[IMAGES] = self.resized.picture(index, item[0], lambda: self.resized_image(item[0]))
            else:
                sample[field.key] = field.read_for(item, sample.get(IMAGES))
        return sample

    def resized_image(self, path: str):
        """The picture of a file as it is after the first transform, which resizes it."""
        sample = {IMAGES: read_image(path)}
        self.transform.transforms[0](sample)
        return sample[IMAGES]

    def send_bytes(self) -> None:
        """Leave pictures in bytes from now on, for a loader that calls :meth:`to_floats` on its batches."""
        self._sends_bytes = True

    def to_floats(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """A batch, or a sample, with floats for bytes."""
        return to_floats(batch, self.in_bytes, self.transform.fill)

    def damage_report(self) -> str | None:
        """What to say at the end of a training about images that could not be read; None if all could."""
        reports = [field.damage_report() for field in self.transform.fields]
        if self.substitutes is not None and self.substitutes.count:
            reports.append(
                f"{self.substitutes.count} of {len(self)} training images could not be read, others of their "
                "identities took their places"
            )
        said = "; ".join(filter(None, reports))
        return f"{said} (DATALOADER.SKIP_DAMAGED). `{self.check_command}` lists them" if said else None


def send_bytes(worker: int) -> None:
    """Have a worker's own copy of a :class:`FieldDataset` send bytes; a loader's ``worker_init_fn``."""
    get_worker_info().dataset.send_bytes()


def collate(samples: Sequence) -> Any:
    """A batch of samples: FastReID's, without its copies.

    Dicts are collated by key, tensors ``[...]`` stacked to ``[B, ...]``, numbers become a tensor ``[B]``, anything else
    stays a list. FastReID's own fills a batch with zeros, adds each image to it and hands it to another process, which
    copies it once more; here a worker stacks it where that process reads it.
    """
    first = samples[0]
    if isinstance(first, Mapping):
        return {key: collate([sample[key] for sample in samples]) for key in first}
    if isinstance(first, Tensor):
        return _stacked(samples)
    if isinstance(first, float):
        return torch.tensor(samples, dtype=torch.float64)
    if isinstance(first, int):
        return torch.tensor(samples)
    return list(samples)


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    if get_worker_info() is None:
        return torch.stack(list(tensors))
    first = tensors[0]
    storage = first._typed_storage()._new_shared(len(tensors) * first.numel(), device=first.device)
    return torch.stack(list(tensors), out=first.new(storage).resize_(len(tensors), *first.size()))


def to_floats(batch: Mapping[str, Any], keys: Iterable[str], fill: Sequence[float] | None) -> dict[str, Any]:
    """A batch whose bytes are floats, on the same device.

    Args:
        batch: with bytes ``[..., 3, H, W]`` under each of ``keys``; they become floats.
        keys: of pictures.
        fill: what stands where something is erased (:mod:`~mdpr_fastreid.data.erased`), for each of the three colours;
            None if nothing can be.
    """
    floats = {}
    for key in keys:
        floats[key] = batch[key].float()
        if fill is not None:
            erased = erased_in(batch, key)
            for colour, value in enumerate(fill):
                floats[key][..., colour, :, :].masked_fill_(erased, value)
    packed = {erased_key(key) for key in keys}
    return {key: floats.get(key, value) for key, value in batch.items() if key not in packed}
