"""DROP: re-identification and human parsing from one backbone, each with features of its own."""

import logging
from collections import Counter
from collections.abc import Mapping, Sized

import torch
from fastreid.config import CfgNode, configurable
from fastreid.modeling.heads import build_heads
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import nn

from drop.branches import ParsingBranch
from drop.evaluation import compared_parts, parsing_counts, parsing_metrics, part_distances
from drop.layers import DetailPreservingUpsampling, PixelClassifier, PositionEncoder, ReIDMap
from drop.losses import ParsingLoss, part_targets
from drop.meta_arch.shown_parts import ShownParts
from mdpr_fastreid.data.masks import part_groups
from mdpr_fastreid.errors import SettingsError
from mdpr_fastreid.modeling import image_sizes
from mdpr_fastreid.modeling.backbones import build_backbone, map_shapes, stage_outputs

logger = logging.getLogger("fastreid.drop")


@META_ARCH_REGISTRY.register()
class DROP(nn.Module):
    """Decouple Re-Identification and Human Parsing with Task-specific Features (arXiv 2401.18032).

    The backbone's last map is pooled into embeddings of the whole picture, of the foreground and of every part of the
    body. Where the parts are, a pixel classifier says, on features that identity losses do not shape: an upsampled
    fusion of all stages, and the position along the height. Two people are compared by the parts visible in both.
    Training needs ``batch["masks"]``; evaluation does not.

    Args:
        backbone: ``[B, 3, H, W]`` -> the maps of its four stages.
        reid_map: from these to the map that is pooled.
        parsing: from these to the logits of every cell.
        heads: from the map and the probabilities of the cells to losses, or to what is compared.
        parsing_loss: on logits and target classes.
        pixel_mean: per channel, RGB, in 0 to 255.
        pixel_std: likewise.
        detach_parts: whether the losses of the head leave the parsing branch alone.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        reid_map: ReIDMap,
        parsing: ParsingBranch,
        heads: nn.Module,
        parsing_loss: nn.Module,
        pixel_mean: list[float],
        pixel_std: list[float],
        detach_parts: bool = False,
    ):
        super().__init__()
        self.backbone = backbone
        self.reid_map = reid_map
        self.parsing = parsing
        self.heads = heads
        self.parsing_loss = parsing_loss
        self.detach_parts = detach_parts
        self._shown = ShownParts(heads.part_names)
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(1, -1, 1, 1), persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """The constructor's arguments.

        Raises:
            SettingsError: settings contradict each other, or ask of evaluation what part embeddings cannot give.
            UsageError: ``INPUT.MASK.GROUPS`` names no parts.
        """
        check_settings(cfg)
        drop = cfg.MODEL.DROP
        backbone = stage_outputs(build_backbone(cfg))
        reid_map = ReIDMap(drop.REID_MAP)
        maps = map_shapes(backbone, image_sizes(cfg).train.size)
        pooled = reid_map([torch.empty(1, *shape, device="meta") for shape in maps]).shape[1]
        classes = len(part_groups(cfg).parts) + 1
        upsampling = positions = None
        # The statistics of frozen ones come with a backbone's weights, and these layers have none
        norm = "BN" if cfg.MODEL.BACKBONE.NORM == "FrozenBN" else cfg.MODEL.BACKBONE.NORM
        if drop.DPU.ENABLED:
            upsampling = DetailPreservingUpsampling([channels for channels, *_ in maps], drop.DPU.CHANNELS, norm)
            positions = PositionEncoder(drop.DPU.CHANNELS, maps[0][1]) if drop.PPE.ENABLED else None
        classifier = PixelClassifier(drop.DPU.CHANNELS if drop.DPU.ENABLED else pooled, classes, norm)
        cfg = cfg.clone()
        cfg.defrost()
        cfg.MODEL.BACKBONE.FEAT_DIM = pooled
        return {
            "backbone": backbone,
            "reid_map": reid_map,
            "parsing": ParsingBranch(classifier, upsampling, positions),
            "heads": build_heads(cfg),
            "parsing_loss": ParsingLoss(epsilon=drop.PARSING.EPSILON, scale=drop.PARSING.SCALE),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "detach_parts": drop.DETACH_PARTS,
        }

    folds_from = "backbone"
    """The module that gets the normalised images, see :mod:`mdpr_fastreid.inference.folding`."""
    float32_modules = ("parsing.classifier", "heads")
    """What stays exact in a folded network of half precision: the pooling weights, and what is compared."""

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.pixel_mean.device

    def forward(self, batch: dict | torch.Tensor) -> dict[str, torch.Tensor]:
        """Losses in training, what is compared in evaluation.

        Args:
            batch: a dict with ``images`` ``[B, 3, H, W]`` (RGB, 0 to 255); in training with ``targets`` ``[B]`` and
                ``masks`` ``[B, H, W]`` (labels of ``INPUT.MASK.GROUPS``; 255 where nothing is known); or the images
                alone. It is not changed.

        Returns:
            In training scalar losses by name. In evaluation ``embeddings`` ``[B, J, E]``, each of length 1, and
            ``visibility`` ``[B, J]``; for a batch with masks also ``parsing``, see
            :func:`~drop.evaluation.parsing_counts`.

        Raises:
            ValueError: a training batch without targets or masks.
        """
        images = batch["images"] if isinstance(batch, dict) else batch
        stages = self.backbone((images - self.pixel_mean) / self.pixel_std)
        features = self.reid_map(stages)
        logits = self.parsing(stages, features)
        probabilities = logits.softmax(dim=1)
        if self.training:
            outputs = self._outputs(batch, features, logits, probabilities)
            # Precise BN marks a batch whose identities are not those of training with -1: any class does for it
            return self.losses(outputs, batch["targets"].clamp_min(0))
        outputs = self.heads(features, probabilities)
        if isinstance(batch, dict) and "masks" in batch:
            outputs["parsing"] = parsing_counts(probabilities, part_targets(batch["masks"], *_grid(probabilities)))
        return outputs

    def _outputs(self, batch: dict, features: torch.Tensor, logits: torch.Tensor, probabilities: torch.Tensor) -> dict:
        """What :meth:`losses` gets beside the targets."""
        for key in ("targets", "masks"):
            if not isinstance(batch, dict) or key not in batch:
                raise ValueError(f"DROP in training needs a batch with {key!r} (INPUT.FIELDS ('mask',)); see eval()")
        classes = part_targets(batch["masks"], *_grid(logits))
        self._shown.see(classes)
        if self.detach_parts:
            probabilities = probabilities.detach()
        return {"heads": self.heads.learn(features, probabilities, classes), "parsing": logits, "classes": classes}

    def losses(self, outputs: dict, targets: torch.Tensor) -> dict[str, torch.Tensor]:
        """Scalar losses of a training batch, or of several joined.

        Args:
            outputs: ``heads``, as the head's ``learn`` gives it; ``parsing``, logits ``[B, K + 1, h, w]``; ``classes``
                ``[B, h, w]`` of the masks.
            targets: ``[B]`` identities.
        """
        losses = self.heads.losses(outputs["heads"], targets)
        return losses | {"loss_parsing": self.parsing_loss(outputs["parsing"], outputs["classes"])}

    def prepare_training(self, cfg: CfgNode, training_set: Sized) -> None:
        """Warn of a memory that would hold an image more than once, from steps long past, and of lone images.

        Args:
            cfg: the run's config.
            training_set: what is trained on.
        """
        counts = Counter(item[1] for item in getattr(training_set, "img_items", ()))
        lone = sum(count == 1 for count in counts.values())
        if lone and cfg.MODEL.DROP.PCT.SCALE:
            logger.warning(
                f"{lone} of {len(counts)} identities have a single training image: the triplet loss compares it with "
                "itself, augmented otherwise. Leave them out, or add images of them"
            )
        size, images = cfg.MODEL.DROP.PCT.BANK_SIZE, len(training_set)
        if cfg.MODEL.DROP.PCT.SCALE and size > images:
            logger.warning(
                f"MODEL.DROP.PCT.BANK_SIZE {size} is larger than the training set of {images} images: the memory holds "
                f"embeddings of one image from several epochs. Set it to {images} or less"
            )

    @staticmethod
    def distance(query: Mapping[str, torch.Tensor], gallery: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """``[Q, G]``: the mean distance of the embeddings of what is visible in both."""
        return part_distances(query["embeddings"], gallery["embeddings"], query["visibility"], gallery["visibility"])

    @staticmethod
    def metrics(outputs: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """How well parts were found, where test images have masks; see :func:`~drop.evaluation.parsing_metrics`."""
        return parsing_metrics(outputs["parsing"]) if "parsing" in outputs else {}

    def compared(self, query: Mapping[str, torch.Tensor], gallery: Mapping[str, torch.Tensor]) -> list[str]:
        """What was compared in each of ``P`` pairs of images."""
        return compared_parts(query["visibility"], gallery["visibility"], self.heads.compared_names())

    def parts(self, batch: dict | torch.Tensor) -> torch.Tensor:
        """The probabilities of background and parts, ``[B, K + 1, H / 4, W / 4]``, for looking at them."""
        images = batch["images"] if isinstance(batch, dict) else batch
        stages = self.backbone((images - self.pixel_mean) / self.pixel_std)
        return self.parsing(stages, self.reid_map(stages)).softmax(dim=1)

    def simplify_for_inference(self) -> None:
        """Take away, in place, what no output depends on; see :mod:`mdpr_fastreid.inference.folding`."""
        self.parsing_loss = None


def check_settings(cfg: CfgNode) -> None:
    """Refuse settings that contradict each other.

    Raises:
        SettingsError: it says which.
    """
    drop = cfg.MODEL.DROP
    if cfg.MODEL.HEADS.NAME != "DROPHead":
        raise SettingsError(
            f"MODEL.HEADS.NAME {cfg.MODEL.HEADS.NAME} does not pool parts, and DROP's head does: set it to DROPHead"
        )
    if drop.PPE.ENABLED and not drop.DPU.ENABLED:
        raise SettingsError("MODEL.DROP.PPE.ENABLED needs MODEL.DROP.DPU.ENABLED: positions are added to its features")
    if "mask" not in cfg.INPUT.FIELDS:
        raise SettingsError("DROP learns parts from masks: set INPUT.FIELDS ('mask',) and INPUT.MASK.GROUPS")
    if len(set(drop.TEST_EMBEDDINGS)) < len(drop.TEST_EMBEDDINGS):
        raise SettingsError(f"MODEL.DROP.TEST_EMBEDDINGS {tuple(drop.TEST_EMBEDDINGS)} names an embedding twice")
    if cfg.TEST.FLIP.ENABLED:
        raise SettingsError(
            "TEST.FLIP.ENABLED averages the outputs of an image and its mirror image, and DROP's say which parts are "
            "visible, left ones apart from right ones: turn it off"
        )
    if cfg.TEST.AQE.ENABLED:
        raise SettingsError("TEST.AQE.ENABLED expands one feature vector, and DROP compares parts: turn it off")


def _grid(maps: torch.Tensor) -> tuple[tuple[int, int], int]:
    """The cells ``(h, w)`` and the number of classes of maps ``[B, classes, h, w]``."""
    return (maps.shape[2], maps.shape[3]), maps.shape[1]
