"""VideoReID: a network that embeds frames and averages over them; stage 1 of MDKT, and both networks of stage 2."""

import torch
import torch.nn.functional as F
from fastreid.config import CfgNode, configurable
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import nn

from mdkt.heads import ClipReadings, FrameHead
from mdkt.meta_arch.evaluation import Pairings, clips_of, embedded, pairings_of
from mdkt.meta_arch.pixels import PixelNormalization
from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.modeling import image_sizes, map_channels
from mdpr_fastreid.modeling.backbones import build_backbone
from mdpr_fastreid.modeling.event_storage import log_accuracy
from mdpr_fastreid.modeling.losses import TripletLoss


@META_ARCH_REGISTRY.register()
class VideoReID(nn.Module):
    """A backbone for images, applied to every frame, whose features are averaged over time (VKD, arXiv 2007.04174).

    Learns by cross entropy on the averaged logits and a soft-margin triplet loss on the averaged features. The same
    network embeds an image, which is a clip of one frame: so images and clips can be compared.

    Args:
        backbone: ``[N, 3, H, W]`` -> ``[N, C, h, w]``.
        heads: from the maps of the frames to embeddings and logits.
        pixel_mean: per channel, RGB, in 0 to 255.
        pixel_std: likewise.
        cross_entropy: weight of that loss; 0 leaves it out.
        triplet: likewise.
        pairings: what is compared in evaluation, see :mod:`mdpr_fastreid.modeling.brought`.
    """

    folds_from = "backbone"
    """The module that gets the normalised images, see :mod:`mdpr_fastreid.inference.folding`."""
    float32_modules = ("pixels", "heads")
    """What stays exact in a folded network of half precision."""

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        heads: FrameHead,
        pixel_mean: list[float],
        pixel_std: list[float],
        cross_entropy: float = 1.0,
        triplet: float = 1.0,
        pairings: Pairings | None = None,
    ):
        super().__init__()
        self.pixels = PixelNormalization(pixel_mean, pixel_std)
        self.backbone = backbone
        self.heads = heads
        self.cross_entropy = cross_entropy
        self.triplet = triplet
        self.triplet_loss = TripletLoss(margin=0)
        self.pairings = dict(pairings or {"I2V": ("image", "clip"), "V2V": ("clip", "clip")})

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """The constructor's arguments.

        Raises:
            SettingsError: settings contradict each other.
            UsageError: the backbone's weights are missing or do not fit.
        """
        mdkt, head = cfg.MODEL.MDKT, REID_HEADS_REGISTRY.get(cfg.MODEL.HEADS.NAME)
        if not (isinstance(head, type) and issubclass(head, FrameHead)):
            raise SettingsError(
                f"MODEL.META_ARCHITECTURE {cfg.MODEL.META_ARCHITECTURE} averages over frames, and MODEL.HEADS.NAME "
                f"{cfg.MODEL.HEADS.NAME} does not: set it to FrameHead"
            )
        if cls.__name__ == cfg.MODEL.META_ARCHITECTURE and not (mdkt.CE.SCALE or mdkt.TRI.SCALE):
            raise SettingsError("MODEL.MDKT.CE.SCALE and MODEL.MDKT.TRI.SCALE are both 0: nothing is learnt")
        backbone = build_backbone(cfg)
        if not mdkt.LAST_BLOCK_RELU:
            _without_last_activation(backbone, cfg.MODEL.BACKBONE.NAME)
        heads = head(channels=_channels(backbone, cfg), identities=cfg.MODEL.HEADS.NUM_CLASSES)
        heads.set_trained(mdkt.CE.SCALE > 0)
        return {
            "backbone": backbone,
            "heads": heads,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "cross_entropy": mdkt.CE.SCALE,
            "triplet": mdkt.TRI.SCALE,
            "pairings": pairings_of(cfg),
        }

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.pixels.mean.device

    @property
    def pixel_mean(self) -> torch.Tensor:
        """``[1, 3, 1, 1]``."""
        return self.pixels.mean

    @property
    def pixel_std(self) -> torch.Tensor:
        """``[1, 3, 1, 1]``."""
        return self.pixels.std

    def forward(self, batch: dict | torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
        """Losses in training, embeddings in evaluation.

        Args:
            batch: a dict with ``clips`` ``[B, T, 3, H, W]`` (RGB, 0 to 255) and ``targets`` ``[B]`` in training, or
                with ``images`` instead of clips, of which ``[B, 3, H, W]`` are clips of one frame; with ``images`` and
                ``clips`` in evaluation, as the pairings need them; or one of these tensors in evaluation. It is not
                changed.

        Returns:
            In training scalar losses by name. In evaluation ``image`` and ``clip``, each ``[B, C]``; of a tensor
            ``[B, C]``.

        Raises:
            ValueError: a training batch lacks something.
            UsageError: one of evaluation does.
        """
        if not self.training:
            return embedded(self.embed, batch, self.pairings)
        readings, losses = self.learn(*clips_of(batch, type(self).__name__))
        log_accuracy(readings.logits, batch["targets"])
        return losses

    def read(self, clips: torch.Tensor) -> ClipReadings:
        """What the network reads off clips ``[B, T, 3, H, W]``, for losses."""
        maps = self.backbone(self.pixels(clips.flatten(0, 1))).unflatten(0, clips.shape[:2])
        return self.heads(maps)

    def learn(self, clips: torch.Tensor, targets: torch.Tensor) -> tuple[ClipReadings, dict[str, torch.Tensor]]:
        """What the network reads off clips, and its own losses, each with its weight; targets are ``[B]``."""
        readings = self.read(clips)
        losses = {}
        if self.cross_entropy:
            # Not the plugin's, whose mean leaves out samples without a loss
            logits = readings.logits.to(torch.promote_types(readings.logits.dtype, torch.float32))
            losses["loss_cls"] = F.cross_entropy(logits, targets) * self.cross_entropy
        if self.triplet:
            losses["loss_triplet"] = self.triplet_loss(readings.embedding, targets) * self.triplet
        return readings, losses

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """``[N, 3, H, W]`` -> ``[N, C]``, each image by itself."""
        return self.heads.frame_features(self.backbone(self.pixels(images)))

    def feature_lengths(self) -> dict[str, int]:
        """Length of the embedding of an image or a clip."""
        return {"embedding": self.heads.neck.num_features}


def _without_last_activation(backbone: nn.Module, name: str) -> None:
    """Take the activation out of a ResNet's last block, in place; its one module serves all places in the block."""
    last = getattr(backbone, "layer4", [None])[-1]
    if not isinstance(getattr(last, "relu", None), nn.ReLU):
        raise SettingsError(
            f"MODEL.MDKT.LAST_BLOCK_RELU False takes the activation out of a ResNet's last block, and {name} has none "
            "such: set it to True"
        )
    last.relu = nn.Identity()


def has_last_activation(network: VideoReID) -> bool:
    """Whether the last block of stage 4 has its activation; a backbone without such a stage has all of its own."""
    return not isinstance(getattr(getattr(network.backbone, "layer4", [None])[-1], "relu", None), nn.Identity)


def _channels(backbone: nn.Module, cfg: CfgNode) -> int:
    channels = map_channels(backbone, image_sizes(cfg).train.size)
    if channels is None:
        raise SettingsError(f"MODEL.BACKBONE.NAME {cfg.MODEL.BACKBONE.NAME} gives no maps [B, C, h, w]: take another")
    return channels
