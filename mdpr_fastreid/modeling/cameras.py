"""The way of a camera from a batch to a backbone that asks for it.

FastReID's architectures give their backbone what ``preprocess_image`` returns of a batch, whatever that is. Where a
module of the backbone has a ``camera_count``, it is images and cameras together; any other backbone gets images, as
ever.
"""

from typing import Any, NamedTuple

import torch
from torch import nn

from mdpr_fastreid.errors import SettingsError, UsageError

_KEY = "MODEL.BACKBONE.TIMM.CAMERAS"


class CameraImages(NamedTuple):
    """Images, and the camera of each."""

    images: torch.Tensor
    """``[B, 3, H, W]``."""
    cameras: torch.Tensor
    """``[B]`` int64, from 0."""

    def to(self, *args: Any, **kwargs: Any) -> "CameraImages":
        """The same of images in another type or layout; cameras stay as they are."""
        return self._replace(images=self.images.to(*args, **kwargs))


class TellsCamerasApart:
    """Goes before an architecture among the bases of a class; :func:`see_cameras` does so."""

    camera_count: int

    def preprocess_image(self, batched_inputs: Any) -> CameraImages | torch.Tensor:
        """The architecture's images with the batch's ``camids``; the images alone if it has none."""
        images = super().preprocess_image(batched_inputs)
        cameras = batched_inputs.get("camids") if isinstance(batched_inputs, dict) else None
        if cameras is None:
            return images
        cameras = torch.as_tensor(cameras).long()
        _check(cameras, self.camera_count, waits=not self.training)
        return CameraImages(images, cameras.to(images.device))


def see_cameras(model: nn.Module) -> None:
    """Let a model give its backbone the cameras of a batch, in place, if the backbone has camera embeddings.

    Raises:
        SettingsError: the model has no ``preprocess_image`` that it could give them by; or it is distilled from a
            teacher that has other cameras.
    """
    count = _cameras_of(model)
    for teacher in getattr(model, "model_ts", ()):
        if _cameras_of(teacher) != count:
            raise SettingsError(
                f"{_KEY} is {count}, and {_cameras_of(teacher)} in a teacher's config, which is given the same batch: "
                "set it to the same in both"
            )
    if not count:
        return
    kind = type(model)
    if not hasattr(kind, "preprocess_image"):
        raise SettingsError(f"{_KEY} {count}: {kind.__name__} does not read batches as FastReID's do; set it to 0")
    model.camera_count = count
    model.__class__ = type(kind.__name__, (TellsCamerasApart, kind), {"__module__": __name__})


def _cameras_of(model: nn.Module) -> int:
    """How many cameras its backbone tells apart; 0 if it does not."""
    return max(getattr(module, "camera_count", 0) for module in model.modules())


def _check(cameras: torch.Tensor, count: int, waits: bool) -> None:
    """Refuse cameras that have no embedding.

    Args:
        cameras: ``[B]``.
        count: of embeddings.
        waits: whether what is on a GPU is looked at, too, for which the computer waits; loaders have checked theirs.
    """
    if (cameras.is_cuda and not waits) or not len(cameras):
        return
    low, high = int(cameras.min()), int(cameras.max())
    if low < 0 or high >= count:
        wrong = low if low < 0 else high
        raise UsageError(
            f"the batch has camera {wrong} in camids, and the model embeddings of {count} cameras, 0 to {count - 1} "
            f"({_KEY}): it was trained on others"
        )
