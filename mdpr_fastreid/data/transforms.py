"""The transforms of a sample, from FastReID's ``INPUT.*`` keys: every draw is made once, for the image and its fields.

The image leads a sample, or, where batches have none, the first picture of a field: parameters are drawn for it, and
all else follows. A field whose pictures draw alone (``Field.draws_alone``) sends each through as if it were an image.

Images come out as from FastReID's own transforms, bit for bit and with the same random numbers. ``torchvision``'s v2
draws and computes, but for this:

* chance: v2 draws it while it looks for what to transform, which takes longer than mirroring does; and its
  ``RandomApply`` compares the other way round at equality. Here :class:`Chance` draws it.
* ``RandomCrop``: v2 draws nothing along a side that fits already, FastReID's (v1) does: :class:`_Crop`.
* masks: v2 shifts them by half a pixel when it resizes them, and moves them otherwise than Pillow moves the image:
  :class:`~mdpr_fastreid.data.label_maps.LabelMap`.
* random erasing: v2 leaves masks as they are. Here it comes after the pixels have become bytes: :class:`Erasing`.
* random patch, AutoAugment and AugMix are FastReID's. The first is drawn here so that fields can follow, with the same
  draws: :class:`Patching`. The others change a picture in ways that no mask or frame can follow, and are refused.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torchvision.transforms as v1
from fastreid.config import CfgNode
from fastreid.data.transforms import AugMix, AutoAugment
from fastreid.data.transforms.transforms import RandomPatch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F
from torchvision.tv_tensors import TVTensor

from mdpr_fastreid.data.erased import erased_key, pack_erased
from mdpr_fastreid.data.fields import COLOURS, IMAGES, Field, ImageField, Region, build_fields
from mdpr_fastreid.errors import UsageError

Sample = dict[str, Any]
"""A sample's fields by their keys in the batch."""

_BICUBIC = InterpolationMode.BICUBIC


class JointTransforms:
    """Makes tensors of what the fields of an item hold.

    Args:
        fields: of the samples, the image first.
        transforms: change a sample in place, in this order.
        fill: what stands at erased pixels, three numbers; None if nothing is erased.
    """

    def __init__(
        self, fields: Sequence[Field], transforms: Sequence[Callable[[Sample], None]], fill: Sequence[float] | None
    ) -> None:
        self.fields = tuple(fields)
        self.transforms = list(transforms)
        self.fill = fill

    def __call__(self, sample: Sample) -> Sample:
        """The sample with a tensor for each field; pictures in bytes, see ``Field.to_tensor``."""
        alone = {field.key: sample.pop(field.key) for field in self.fields if field.draws_alone}
        steps = self.transforms
        if not any(field.in_bytes and field.key in sample for field in self.fields):  # nothing to draw for
            steps = [step for step in steps if isinstance(step, ToBytes)]
        self._apply(steps, sample)
        for key, pictures in alone.items():
            self._apply_to_each(key, pictures, sample)
        return sample

    def _apply(self, steps: Sequence[Callable[[Sample], None]], sample: Sample) -> Sample:
        for step in steps:
            step(sample)
        return sample

    def _apply_to_each(self, key: str, pictures: Sequence[Image.Image], sample: Sample) -> None:
        made = [self._apply(self.transforms, {IMAGES: picture}) for picture in pictures]
        sizes = {image[IMAGES].shape[1:] for image in made}
        if len(sizes) > 1:
            one, other = sorted(map(list, sizes))[:2]
            raise _SizesDifferError(key, one, other)
        sample[key] = torch.stack([image[IMAGES] for image in made])
        if self.fill is not None:
            sample[erased_key(key)] = torch.stack([image[erased_key(IMAGES)] for image in made])


class _SizesDifferError(UsageError):
    """Pictures of one sample that have to be of one size."""

    def __init__(self, key: str, size: Sequence[int], other: Sequence[int]) -> None:
        super().__init__(
            f"{key} of {list(size)} pixels beside an image of {list(other)}: INPUT.SIZE_TRAIN and SIZE_TEST of two "
            "numbers resize both to one size"
        )


def _pictures(sample: Sample) -> Iterator[tuple[str, Any]]:
    for key, value in sample.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, (Image.Image, TVTensor)):
                yield key, one


def _lead(sample: Sample) -> Any:
    """The picture that parameters are drawn for."""
    return next(picture for _, picture in _pictures(sample))


class Joint:
    """A transform of torchvision's v2: parameters are drawn for what leads, and all fields change by them."""

    def __init__(self, transform: v2.Transform) -> None:
        self.transform = transform

    def __call__(self, sample: Sample) -> None:
        parameters = self.transform.make_params([_lead(sample)])
        for key, value in sample.items():
            sample[key] = self._changed(value, parameters)

    def _changed(self, value: Any, parameters: dict[str, Any]) -> Any:
        if isinstance(value, list):
            return [self._changed(one, parameters) for one in value]
        if isinstance(value, (Image.Image, TVTensor)):
            return self.transform.transform(value, parameters)
        return value


class Chance(Joint):
    """A transform of v2 that happens with a probability.

    Args:
        transform: whose parameters are drawn only if it happens.
        probability: that it does.
        at_equality: whether it does when the number drawn is the probability itself.
    """

    def __init__(self, transform: v2.Transform, probability: float, at_equality: bool = False) -> None:
        super().__init__(transform)
        self.probability, self.at_equality = probability, at_equality

    def __call__(self, sample: Sample) -> None:
        drawn = torch.rand(1)
        if drawn < self.probability or (self.at_equality and drawn == self.probability):
            super().__call__(sample)


class _Crop(v2.Transform):
    """Cuts a place out that is drawn as in torchvision's v1."""

    def __init__(self, size: int | Sequence[int]) -> None:
        super().__init__()
        self._size = v1.RandomCrop(size).size

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        top, left, height, width = v1.RandomCrop.get_params(flat_inputs[0], self._size)
        return {"top": top, "left": left, "height": height, "width": width}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return F.crop(inpt, **params)


class ImageAlone:
    """A transform that only an image can go through.

    Args:
        transform: gets a Pillow image; may return an array ``[H, W, 3]``.
    """

    def __init__(self, transform: Callable[[Image.Image], Any]) -> None:
        self.transform = transform

    def __call__(self, sample: Sample) -> None:
        sample[IMAGES] = self.transform(sample[IMAGES])


class SameSize:
    """Checks that what belongs to an image is as large as it, so that one place is the same in all."""

    def __call__(self, sample: Sample) -> None:
        size = F.get_size(_lead(sample))
        for key, picture in _pictures(sample):
            if F.get_size(picture) != size:
                raise _SizesDifferError(key, F.get_size(picture), size)


class _OfFields:
    """A step that goes field by field.

    Args:
        fields: of which a sample has some; the first one in bytes that it has leads.
    """

    def __init__(self, fields: Sequence[Field]) -> None:
        self.fields = fields

    def fields_in(self, sample: Sample) -> list[Field]:
        return [field for field in self.fields if field.key in sample]

    def lead(self, sample: Sample) -> Tensor:
        """What leads the sample, ``[3 or 4, H, W]``; a view."""
        tensor = next(sample[field.key] for field in self.fields_in(sample) if field.in_bytes)
        return tensor if tensor.ndim == 3 else tensor[0]


class ToBytes(_OfFields):
    """Makes a tensor of each field."""

    def __init__(self, fields: Sequence[Field], planes: int) -> None:
        super().__init__(fields)
        self.planes = planes

    def __call__(self, sample: Sample) -> None:
        for field in self.fields_in(sample):
            sample[field.key] = field.to_tensor(sample[field.key], self.planes)


class Erasing(_OfFields):
    """Random erasing of one place in all fields, on tensors.

    Args:
        fields: of the samples.
        probability: that a sample has such a place.
        area: its share of the image's area, from and to.
        ratio: its height by its width, from and to.
    """

    def __init__(
        self, fields: Sequence[Field], probability: float, area: Sequence[float], ratio: Sequence[float]
    ) -> None:
        super().__init__(fields)
        self.probability = probability
        self._erasing = v2.RandomErasing(scale=area, ratio=ratio, value=0)

    def __call__(self, sample: Sample) -> None:
        if torch.rand(1) >= self.probability:
            return
        drawn = self._erasing.make_params([self.lead(sample)])
        if drawn["v"] is None:  # no place was found
            return
        region = _region(drawn["i"], drawn["j"], drawn["h"], drawn["w"])
        for field in self.fields_in(sample):
            field.erase(sample[field.key], region)


class Patching(_OfFields, RandomPatch):
    """FastReID's random patch: cuts a patch out of each image, and pastes one of an earlier image into all fields.

    The pool keeps the patches alone. Stock's are views, which keep as many whole images alive in each worker: 44 GB at
    384x192.
    """

    def __init__(self, fields: Sequence[Field], probability: float) -> None:
        _OfFields.__init__(self, fields)
        RandomPatch.__init__(self, prob_happen=probability)

    def __call__(self, sample: Sample) -> None:
        image = self.lead(sample)
        height, width = image.shape[-2:]
        cut = False
        patch_width, patch_height = self.generate_wh(width, height)
        if patch_width is not None:
            left, top = random.randint(0, width - patch_width), random.randint(0, height - patch_height)
            self.patchpool.append(image[_region(top, left, patch_height, patch_width)])
            cut = True
        if len(self.patchpool) >= self.min_sample_size and random.uniform(0, 1) <= self.prob_happen:
            self._paste(sample, image)
        if cut:  # only now: as stock's view, a patch shows what was pasted over it since
            self.patchpool[-1] = self.patchpool[-1].clone()

    def _paste(self, sample: Sample, image: Tensor) -> None:
        (patch,) = random.sample(self.patchpool, 1)
        height, width = image.shape[-2:]
        patch_height, patch_width = patch.shape[-2:]
        left, top = random.randint(0, width - patch_width), random.randint(0, height - patch_height)
        region = _region(top, left, patch_height, patch_width)
        image[region] = self.transform_patch(patch)
        shown = image[region].clone()  # what it shows there now: a patch may overlap the place it is pasted to
        for field in self.fields_in(sample):
            field.paste(sample[field.key], shown, region)


class PackErased(_OfFields):
    """The last step: three planes of each picture's four, and the marks of the last one as bits beside them."""

    def __call__(self, sample: Sample) -> None:
        for field in self.fields_in(sample):
            if field.in_bytes:
                coded = sample[field.key]
                sample[field.key] = coded[..., :COLOURS, :, :]
                sample[erased_key(field.key)] = pack_erased(coded[..., COLOURS, :, :])


def _region(top: int, left: int, height: int, width: int) -> Region:
    return ..., slice(top, top + height), slice(left, left + width)


def build_transforms(cfg: CfgNode, is_train: bool) -> JointTransforms:
    """The transforms of ``INPUT.*``, in FastReID's order, for the fields of ``INPUT.FIELDS``.

    Raises:
        UsageError: a transform that the fields cannot follow, or an erasing value of neither one nor three numbers.
    """
    fields = build_fields(cfg, is_train)
    followers = [field for field in fields if not field.draws_alone and field.key != IMAGES]
    together = (ImageField(cfg, is_train), *followers)
    if not is_train:
        return JointTransforms(fields, [*_resizing(cfg, together, False), ToBytes(together, COLOURS)], None)
    inputs = cfg.INPUT
    fill = _fill(inputs.REA.VALUE) if inputs.REA.ENABLED else None
    alone = [name for name in ("AUTOAUG", "AUGMIX") if inputs[name].ENABLED]
    if alone and followers:
        raise UsageError(
            f"INPUT.{alone[0]}.ENABLED changes an image in ways that {', '.join(f.key for f in followers)} cannot "
            "follow: switch it off, or leave INPUT.FIELDS empty"
        )
    steps: list[Callable[[Sample], None]] = []
    if inputs.AUTOAUG.ENABLED:
        steps.append(ImageAlone(v1.RandomApply([AutoAugment()], p=inputs.AUTOAUG.PROB)))
    steps += _resizing(cfg, together, True)
    if inputs.PADDING.ENABLED:
        steps.append(Joint(v2.Pad(inputs.PADDING.SIZE, padding_mode=inputs.PADDING.MODE)))
        steps.append(Joint(_Crop(_one_or_two(inputs.SIZE_TRAIN))))
    if inputs.FLIP.ENABLED:
        steps.append(Chance(v2.RandomHorizontalFlip(), inputs.FLIP.PROB))
    if inputs.CJ.ENABLED:
        jitter = v2.ColorJitter(inputs.CJ.BRIGHTNESS, inputs.CJ.CONTRAST, inputs.CJ.SATURATION, inputs.CJ.HUE)
        steps.append(Chance(jitter, inputs.CJ.PROB, at_equality=True))
    if inputs.AFFINE.ENABLED:
        steps.append(Joint(v2.RandomAffine(degrees=10, scale=[0.9, 1.1], shear=0.1)))
    if inputs.AUGMIX.ENABLED:
        steps.append(ImageAlone(AugMix(prob=inputs.AUGMIX.PROB)))
    steps.append(ToBytes(together, COLOURS + (fill is not None)))
    if inputs.REA.ENABLED:
        area, ratio = inputs.REA.get("AREA", (0.02, 0.33)), inputs.REA.get("RATIO", (0.3, 3.3))
        steps.append(Erasing(together, inputs.REA.PROB, area, ratio))
    if inputs.RPT.ENABLED:
        steps.append(Patching(together, inputs.RPT.PROB))
    if fill is not None:
        steps.append(PackErased(together))
    return JointTransforms(fields, steps, fill)


def _resizing(cfg: CfgNode, fields: Sequence[Field], is_train: bool) -> list[Callable[[Sample], None]]:
    """Resizing and, with ``INPUT.CROP``, the crop: a random and resized one in training, the centre in evaluation."""
    size, crop = cfg.INPUT.SIZE_TRAIN if is_train else cfg.INPUT.SIZE_TEST, cfg.INPUT.CROP
    steps: list[Callable[[Sample], None]] = []
    if size[0] > 0:
        steps.append(Joint(v2.Resize(_one_or_two(size), interpolation=_BICUBIC)))
    if len(fields) > 1:
        steps.append(SameSize())
    if crop.ENABLED and is_train:
        crops = v2.RandomResizedCrop(_one_or_two(crop.SIZE), crop.SCALE, crop.RATIO, interpolation=_BICUBIC)
        steps.append(Joint(crops))
    elif crop.ENABLED:
        steps.append(Joint(v2.CenterCrop(_one_or_two(crop.SIZE))))
    return steps


def _one_or_two(size: Sequence[int]) -> int | Sequence[int]:
    return size[0] if len(size) == 1 else size


def _fill(value: Sequence[float]) -> list[float]:
    if len(value) not in (1, COLOURS):
        raise UsageError(f"INPUT.REA.VALUE {list(value)}: give one number, or one for each of the three colours")
    return [float(number) for number in value] * (COLOURS // len(value))
