"""Camera embeddings of a plain vision transformer: what it adds to its tokens by the camera that took the image.

TransReID's side information (SIE; He et al., ICCV 2021, equation 4), and CLIP-ReID's form of it (Li et al., AAAI 2023).
"""

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from mdpr_fastreid.errors import SettingsError, UsageError
from mdpr_fastreid.modeling.cameras import CameraImages

_KEY = "MODEL.BACKBONE.TIMM"
_TRANSREID, _CLIP_REID = 3.0, 1.0
"""Scales that the two are published with."""


class SeenByCameras:
    """Goes before a plain vision transformer among the bases of a class; :func:`add_cameras` does so.

    ``sie_embed`` ``[cameras, 1, C]`` has a row for each camera, under TransReID's name. With TransReID, a camera's row
    is added to every token; with CLIP-ReID, that is in models with a norm before their blocks, to the class token
    alone.

    Shapes:
        :class:`~mdpr_fastreid.modeling.cameras.CameraImages` of ``[B, 3, H, W]``, or images alone if
        ``WITHOUT_CAMERA`` says what they get, -> tokens ``[B, N, C]``.
    """

    camera_scale: float
    """By which rows are multiplied."""
    camera_tokens: slice
    """Tokens that they are added to."""
    without_camera: str
    """``MODEL.BACKBONE.TIMM.WITHOUT_CAMERA``."""

    @property
    def camera_count(self) -> int:
        """How many cameras have a row: the architecture gives cameras to a backbone that says so."""
        return len(self.sie_embed)

    def forward_features(self, seen: CameraImages | torch.Tensor) -> torch.Tensor:
        """timm's own, with the cameras behind the position embedding."""
        images, cameras = seen if isinstance(seen, CameraImages) else (seen, None)
        tokens = self._with_cameras(self._pos_embed(self.patch_embed(images)), cameras)
        return self.norm(self.blocks(self.norm_pre(self.patch_drop(tokens))))

    def _with_cameras(self, tokens: torch.Tensor, cameras: torch.Tensor | None) -> torch.Tensor:
        if tokens.is_meta:  # shapes are asked for, of no image
            return tokens
        added = self.camera_scale * (self._mean_camera() if cameras is None else self.sie_embed[cameras])
        if self.camera_tokens == slice(None):
            return tokens + added
        reached = tokens[:, self.camera_tokens]
        return torch.cat([reached + added, tokens[:, reached.size(1) :]], dim=1)

    def _mean_camera(self) -> torch.Tensor:
        if self.without_camera == "mean":
            return self.sie_embed.mean(dim=0, keepdim=True)
        raise UsageError(
            f"the model tells cameras apart ({_KEY}.CAMERAS {self.camera_count}), and these images come without "
            "theirs: give a batch with camids, as loaders do. For images alone, as exported files and ReID take them, "
            f"set {_KEY}.WITHOUT_CAMERA mean"
        )

    def group_matcher(self, coarse: bool = False) -> dict:
        """timm's, with the embeddings of cameras beside those of positions, in the stem."""
        groups = super().group_matcher(coarse)
        return {**groups, "stem": f"{groups['stem']}|^sie_embed"}


def add_cameras(model: nn.Module, count: int, scale: float, without_camera: str, name: str) -> None:
    """Let a plain vision transformer tell cameras apart, in place, by embeddings that begin at random.

    Args:
        model: of timm's.
        count: of cameras.
        scale: of the embeddings; below 0 the published one.
        without_camera: what images without a camera get: "mean" for the mean of all cameras, "" for an error.
        name: of the model, for the error.

    Raises:
        SettingsError: the model has no tokens to which cameras could be added as published.
    """
    if getattr(type(model), "forward_features", None) is not VisionTransformer.forward_features:
        raise SettingsError(
            f"{_KEY}.CAMERAS {count}: {name} has no place for camera embeddings, which are for plain vision "
            "transformers (ViT, DeiT, CLIP, DINOv2); set it to 0"
        )
    normed_first = not isinstance(model.norm_pre, nn.Identity)
    if normed_first and model.cls_token is None:
        raise SettingsError(f"{_KEY}.CAMERAS {count}: {name} has no class token to add cameras to; set it to 0")
    model.sie_embed = nn.Parameter(nn.init.trunc_normal_(torch.empty(count, 1, model.embed_dim), std=0.02))
    published = _CLIP_REID if normed_first else _TRANSREID
    model.camera_scale = published if scale < 0 else scale
    model.camera_tokens = slice(0, 1) if normed_first else slice(None)
    model.without_camera = without_camera
    kind = type(model)
    model.__class__ = type(kind.__name__, (SeenByCameras, kind), {"__module__": __name__})
