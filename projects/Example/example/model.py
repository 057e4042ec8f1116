"""Two views of a person, the whole picture and the foreground, compared by how much of the person is visible."""

import torch
import torch.nn.functional as F
from fastreid.config import CfgNode, configurable
from fastreid.layers.weight_init import weights_init_classifier, weights_init_kaiming
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import nn

from mdpr_fastreid.evaluation import cosine_distances
from mdpr_fastreid.modeling.backbones import build_backbone
from mdpr_fastreid.modeling.losses import LOSS_REGISTRY, build_identity_losses, build_loss

VIEWS = ("whole", "foreground")


@META_ARCH_REGISTRY.register()
class ForegroundReID(nn.Module):
    """Learns where the person is from masks, and pools a second feature there. Masks are not needed for evaluation.

    Args:
        backbone: ``[B, 3, H, W]`` -> ``[B, C, h, w]``.
        channels: ``C``.
        identities: of the training set.
        identity_losses: on each of the two features.
        mask_loss: on the foreground's logits.
        pixel_mean, pixel_std: per channel, in 0 to 255.
    """

    @configurable
    def __init__(self, *, backbone, channels, identities, identity_losses, mask_loss, pixel_mean, pixel_std):
        super().__init__()
        self.backbone = backbone
        self.foreground = nn.Conv2d(channels, 1, 1)
        self.necks = nn.ModuleDict({view: nn.BatchNorm1d(channels) for view in VIEWS})
        self.classifiers = nn.ModuleDict({view: nn.Linear(channels, identities, bias=False) for view in VIEWS})
        self.identity_losses, self.mask_loss = identity_losses, mask_loss
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(1, -1, 1, 1), persistent=False)
        self.necks.apply(weights_init_kaiming)
        self.classifiers.apply(weights_init_classifier)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """The constructor's arguments."""
        return {
            "backbone": build_backbone(cfg),
            "channels": cfg.MODEL.BACKBONE.FEAT_DIM,
            "identities": cfg.MODEL.HEADS.NUM_CLASSES,
            "identity_losses": build_identity_losses(cfg),
            "mask_loss": build_loss("ForegroundLoss", cfg),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.pixel_mean.device

    def forward(self, batch: dict | torch.Tensor) -> dict[str, torch.Tensor]:
        """Losses in training; in evaluation ``whole`` and ``foreground`` ``[B, C]``, and ``area`` ``[B, 1]``."""
        images = batch["images"] if isinstance(batch, dict) else batch
        features = self.backbone((images - self.pixel_mean) / self.pixel_std)
        logits = self.foreground(features)
        share = logits.sigmoid()
        area = share.mean(dim=(1, 2, 3))[:, None]
        pooled = {"whole": features.mean(dim=(2, 3)), "foreground": (features * share).mean(dim=(2, 3)) / area}
        necks = {view: self.necks[view](pooled[view]) for view in VIEWS}
        if not self.training:
            return {**necks, "area": area}
        outputs = {"logits": logits[:, 0], "masks": batch["masks"]}
        for view in VIEWS:
            outputs[view] = {"features": pooled[view], "cls_outputs": self.classifiers[view](necks[view])}
        return self.losses(outputs, batch["targets"].clamp_min(0))  # precise BN marks a batch of no identities with -1

    def losses(self, outputs: dict, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """Scalar losses by name; ``[B]`` targets. Whatever computes a batch in parts calls it with the whole of it."""
        losses = {"loss_foreground": self.mask_loss(outputs["logits"], outputs["masks"])}
        for view in VIEWS:
            for name, loss in self.identity_losses(outputs[view], targets).items():
                losses[f"loss_{name}_{view}"] = loss
        return losses

    @staticmethod
    def distance(query: dict[str, torch.Tensor], gallery: dict[str, torch.Tensor]) -> torch.Tensor:
        """``[Q, G]``: the foreground counts as far as it is visible in both, the whole picture for the rest."""
        whole, foreground = (cosine_distances(query[view], gallery[view]) for view in VIEWS)
        visible = torch.minimum(query["area"], gallery["area"].T)
        return (1 - visible) * whole + visible * foreground


@LOSS_REGISTRY.register()
class ForegroundLoss(nn.Module):
    """Binary cross entropy of every cell of the map: is most of it person?

    Shapes:
        logits ``[B, h, w]``, label maps ``[B, H, W]`` (0 is background) -> scalar.
    """

    @configurable
    def __init__(self, *, scale: float = 1.0):
        super().__init__()
        self.scale = scale

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """Its weight is not configured."""
        return {}

    def forward(self, logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        person = F.adaptive_avg_pool2d((masks > 0).float()[:, None], logits.shape[1:])[:, 0]
        return F.binary_cross_entropy_with_logits(logits.float(), (person > 0.5).float()) * self.scale
