"""The field ``clip``: frames of tracklets, as pictures that are transformed and sent as images are."""

from collections.abc import Iterator, Sequence

import torch
from fastreid.config import CfgNode
from PIL import Image
from torch import Tensor

from mdpr_fastreid.config.clips import clip_problems
from mdpr_fastreid.data.clips.sampling import OF_ALL_TRACKLETS, SAMPLINGS, Frame
from mdpr_fastreid.data.clips.tracklets import CLIP, all_frames, check_tracklets, grouped, of_one_image, with_views
from mdpr_fastreid.data.damaged import DamagedFiles
from mdpr_fastreid.data.fields import COLOURS, FIELD_REGISTRY, Field, ImageField
from mdpr_fastreid.data.items import Files
from mdpr_fastreid.data.reading import DamagedImageError, read_image
from mdpr_fastreid.errors import SettingsError


@FIELD_REGISTRY.register()
class ClipField(ImageField):
    """Frames of a tracklet: ``clips``, ``[B, T, 3, H, W]`` in float32 from 0 to 255.

    ``INPUT.CLIP.SAMPLING`` says which frames; training draws, evaluation does not. ``INPUT.CLIP.FRAMES`` (T in
    training) and ``INPUT.CLIP.TEST_FRAMES`` (T in evaluation, 0 for all) say how many.

    Raises:
        SettingsError: settings that contradict each other.
    """

    name, key = CLIP, "clips"
    files = Field.files

    def __init__(self, cfg: CfgNode, is_train: bool) -> None:
        super().__init__(cfg, is_train)
        problems = list(clip_problems(cfg, "training" if is_train else "evaluation"))
        if problems:
            raise SettingsError("; ".join(problems))
        clip = cfg.INPUT.CLIP
        self.frames = clip.FRAMES if is_train else clip.TEST_FRAMES
        self.sampling = SAMPLINGS[clip.SAMPLING]
        self.of_identities = is_train and clip.SAMPLING in OF_ALL_TRACKLETS
        self.of_cameras = clip.VIEWS == "camera"
        self.from_images = clip.FROM_IMAGES
        self.draws_alone = is_train and not clip.CONSISTENT
        self.with_image = not is_train or clip.WITH_IMAGE
        self.skip_damaged = is_train and cfg.DATALOADER.SKIP_DAMAGED
        self.damaged: DamagedFiles | None = None
        self._made_up = self.frames or clip.FRAMES

    def of_set(self, items: list[tuple]) -> list[tuple]:
        """The items with the tracklets that the settings say.

        Raises:
            UsageError: an item has no tracklet.
        """
        if self.from_images:
            items = grouped(items) if self.is_train else of_one_image(items)
        check_tracklets(items)
        if self.skip_damaged:
            self.damaged = DamagedFiles(frame for item in items for frame in item.fields[CLIP])
        return with_views(items, self.of_cameras) if self.of_identities else items

    def read(self, files: Files) -> list[Image.Image]:
        """The frames of a clip; a file that is in it twice is read once."""
        pictures: dict[str, Image.Image] = {}
        clip = []
        for frame in self._frames(files):
            path = frame.tracklet[frame.place]
            if path not in pictures:
                pictures[path] = self._picture(frame, files)
            clip.append(pictures[path])
        return clip

    def _frames(self, files: Files) -> list[Frame]:
        if self.is_train:
            return self.sampling.draw(files, self.frames)
        places = self.sampling.represent(len(files), self.frames) if self.frames else range(len(files))
        return [Frame(files, place) for place in places]

    def _picture(self, frame: Frame, files: Files) -> Image.Image:
        if self.damaged is None:
            return read_image(frame.tracklet[frame.place])
        for path in self._candidates(frame, files):
            try:
                return read_image(path)
            except DamagedImageError as error:
                self.damaged.note(path, f"{error}; another frame takes its place")
        path = frame.tracklet[frame.place]
        raise DamagedImageError(f"{path}: neither it nor a frame to take its place can be read as an image")

    def _candidates(self, frame: Frame, files: Files) -> Iterator[str]:
        """The frame, those after it, those before it, then all of the item, less those known to be damaged."""
        behind, before = frame.tracklet[frame.place :], reversed(frame.tracklet[: frame.place])
        return (path for path in (*behind, *before, *all_frames(files)) if path not in self.damaged)

    def to_tensor(self, value: Sequence[Image.Image], planes: int) -> Tensor:
        return torch.stack([super(ClipField, self).to_tensor(frame, planes) for frame in value])

    def noise(self, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        return torch.rand(self._made_up, COLOURS, *size, generator=generator) * 255

    def damage_report(self) -> str | None:
        if self.damaged is None or not self.damaged.count:
            return None
        return f"{self.damaged.count} of {len(self.damaged)} frames could not be read, others took their places"
