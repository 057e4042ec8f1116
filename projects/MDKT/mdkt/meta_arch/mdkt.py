"""MDKT: a video network teaches a student that sees fewer frames, and may learn from it."""

from collections.abc import Iterator
from pathlib import Path

import torch
from fastreid.config import CfgNode, configurable
from fastreid.layers.batch_norm import GhostBatchNorm
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import Dataset

from mdkt.config import FROZEN, LAYER4, MUTUAL, VIDEO_REID
from mdkt.hand_over import hand_over, same_shapes
from mdkt.heads import ClipReadings
from mdkt.losses import MutualLogitsDistillation, PairwiseDistanceLoss, TripletContrastLoss
from mdkt.meta_arch.evaluation import Pairings, clips_of, embedded, pairings_of
from mdkt.meta_arch.mdpr_student import MDPRStudent
from mdkt.meta_arch.monitoring import log_step
from mdkt.meta_arch.video_reid import VideoReID, has_last_activation
from mdkt.settings import check_settings, teacher_config
from mdkt.stage1_record import FILE, first_difference
from mdpr_fastreid.config import check_config
from mdpr_fastreid.data import build_train_loader
from mdpr_fastreid.errors import SettingsError, UsageError
from mdpr_fastreid.modeling import build_model


@META_ARCH_REGISTRY.register()
class MDKT(nn.Module):
    """Mutual Discriminative Knowledge Transfer for image-to-video re-identification (arXiv 2201.08887).

    Teacher and student start from the network of stage 1. Of each clip the teacher sees all frames, and the student a
    random few of the very same tensors. They are brought together by their logits (MKD), the distances between samples
    (PD) and how much closer a positive is than a negative (TCL). The student is what is evaluated.

    Args:
        teacher: sees all frames.
        student: sees ``student_frames`` of them.
        mode: "frozen", the teacher stays as it is; "independent", it trains on its own losses; "mutual", it learns
            from the student, too.
        student_frames: ``M``.
        teacher_bn: whether batch norms of a frozen teacher use the statistics of the "batch", or the "running" ones.
        teacher_lr_factor: learning rate of a teacher that trains, as a multiple of the student's.
        logits_loss: on both networks' logits, or None.
        distance_loss: on both networks' embeddings, or None.
        contrast_loss: on both networks' embeddings and the targets, or None.
        pairings: what is compared in evaluation, see :mod:`mdpr_fastreid.modeling.brought`.
    """

    @configurable
    def __init__(
        self,
        *,
        teacher: VideoReID,
        student: VideoReID | MDPRStudent,
        mode: str = MUTUAL,
        student_frames: int = 2,
        teacher_bn: str = "batch",
        teacher_lr_factor: float = 1.0,
        logits_loss: MutualLogitsDistillation | None = None,
        distance_loss: PairwiseDistanceLoss | None = None,
        contrast_loss: TripletContrastLoss | None = None,
        pairings: Pairings | None = None,
    ):
        super().__init__()
        self.teacher = teacher
        self.student = student
        self.mode = mode
        self.student_frames = student_frames
        self.teacher_bn = teacher_bn
        self.logits_loss = logits_loss
        self.distance_loss = distance_loss
        self.contrast_loss = contrast_loss
        self.pairings = dict(pairings or teacher.pairings)
        self.lr_factors = {} if mode == FROZEN else {"teacher.": teacher_lr_factor}
        if mode == FROZEN:
            self._freeze_teacher()
        if isinstance(student, VideoReID):
            self.folds_from = "student.backbone"
            self.float32_modules = tuple(f"student.{name}" for name in student.float32_modules)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """The constructor's arguments.

        Raises:
            SettingsError: settings contradict each other.
            UsageError: the teacher's config or the student's pretrained weights cannot be read.
        """
        check_settings(cfg)
        mdkt = cfg.MODEL.MDKT
        direction = "both" if mdkt.MODE == MUTUAL else "t2s"
        kd, pd, tcl = mdkt.KD, mdkt.PD, mdkt.TCL
        logits_loss = MutualLogitsDistillation(temperature=kd.TEMPERATURE, direction=direction, scale=kd.SCALE)
        distance_loss = PairwiseDistanceLoss(
            squared=pd.SQUARED, normalize=pd.NORMALIZE, mutual=pd.MUTUAL, scale=pd.SCALE
        )
        contrast_loss = TripletContrastLoss(
            temperature=tcl.TEMPERATURE,
            mining=tcl.MINING,
            reduction=tcl.REDUCTION,
            normalize=tcl.NORMALIZE,
            direction=direction,
            scale=tcl.SCALE,
        )
        teacher, student = _teacher(cfg), _student(cfg)
        _check_activations(cfg, teacher, student)
        return {
            "teacher": teacher,
            "student": student,
            "mode": mdkt.MODE,
            "student_frames": mdkt.STUDENT_FRAMES,
            "teacher_bn": mdkt.TEACHER_BN,
            "teacher_lr_factor": mdkt.TEACHER_LR_FACTOR,
            "logits_loss": logits_loss if kd.SCALE else None,
            "distance_loss": distance_loss if pd.SCALE else None,
            "contrast_loss": contrast_loss if tcl.SCALE else None,
            "pairings": pairings_of(cfg),
        }

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.student.device

    @property
    def pixel_mean(self) -> torch.Tensor:
        """``[1, 3, 1, 1]``, the student's."""
        return self.student.pixel_mean

    @property
    def pixel_std(self) -> torch.Tensor:
        """``[1, 3, 1, 1]``, the student's."""
        return self.student.pixel_std

    def forward(self, batch: dict | torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
        """Losses in training, the student's embeddings in evaluation.

        Args:
            batch: as :class:`VideoReID` takes it, with ``clips`` ``[B, N, 3, H, W]`` in training.

        Returns:
            In training scalar losses by name: ``loss_cls`` and ``loss_triplet`` of the student (an MDPR has its own),
            ``loss_cls_teacher`` and ``loss_triplet_teacher`` of a teacher that trains, ``loss_mkd``, ``loss_pd`` and
            ``loss_mtcl``. In evaluation as :class:`VideoReID`.

        Raises:
            ValueError: a training batch lacks something, or its clips have fewer frames than the student sees.
            UsageError: one of evaluation lacks something.
        """
        if not self.training:
            return embedded(self.student.embed, batch, self.pairings)
        clips, targets = clips_of(batch, "MDKT")
        few = self.frames_for_student(clips)
        of_teacher, losses_of_teacher = self._teach(clips, targets)
        of_student, losses = self.student.learn(few, targets)
        losses |= {f"{name}_teacher": loss for name, loss in losses_of_teacher.items()}
        losses |= self._losses_between(of_teacher, of_student, targets)
        log_step(losses, self._weights(), of_teacher, of_student, targets, self.contrast_loss)
        return losses

    def frames_for_student(self, clips: torch.Tensor) -> torch.Tensor:
        """A random few of the frames of each clip, ``[B, N, 3, H, W]`` -> ``[B, M, 3, H, W]``.

        Drawn by torch's generator on the CPU, which ``SEED`` seeds in every epoch.

        Raises:
            ValueError: the clips have fewer.
        """
        count, frames = clips.shape[:2]
        if frames < self.student_frames:
            raise ValueError(f"the student sees {self.student_frames} frames, and these clips have {frames}")
        chosen = torch.rand(count, frames).argsort(dim=1)[:, : self.student_frames].to(clips.device)
        return clips[torch.arange(count, device=clips.device)[:, None], chosen]

    def _teach(self, clips: torch.Tensor, targets: torch.Tensor) -> tuple[ClipReadings | None, dict[str, torch.Tensor]]:
        """What the teacher reads off clips, and its losses if it trains; None where nobody asks it."""
        if self.mode != FROZEN:
            return self.teacher.learn(clips, targets)
        if not any((self.logits_loss, self.distance_loss, self.contrast_loss)):
            return None, {}
        with torch.no_grad():
            return self.teacher.read(clips), {}

    def _losses_between(
        self, teacher: ClipReadings | None, student: ClipReadings, targets: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        losses = {}
        if self.logits_loss is not None:
            losses["loss_mkd"] = self.logits_loss(teacher.logits, student.logits)
        if self.distance_loss is not None:
            losses["loss_pd"] = self.distance_loss(teacher.embedding, student.embedding)
        if self.contrast_loss is not None:
            losses["loss_mtcl"] = self.contrast_loss(teacher.embedding, student.embedding, targets)
        return losses

    def _weights(self) -> dict[str, float]:
        """What each loss was multiplied by, as far as it is known here."""
        own = {"loss_cls": self.teacher.cross_entropy, "loss_triplet": self.teacher.triplet}
        weights = own | {f"{name}_teacher": weight for name, weight in own.items()}
        between = {"loss_mkd": self.logits_loss, "loss_pd": self.distance_loss, "loss_mtcl": self.contrast_loss}
        return weights | {name: loss.scale for name, loss in between.items() if loss is not None}

    def prepare_training(self, cfg: CfgNode, training_set: Dataset | None = None) -> None:
        """Start both networks from stage 1, in place; see :func:`~mdkt.hand_over.hand_over`.

        Args:
            cfg: the run's config; ``MODEL.MDKT.TEACHER_WEIGHTS`` names the checkpoint.
            training_set: what is trained on, which is not needed.

        Raises:
            UsageError: it names none, or one that does not fit; or ``MODEL.WEIGHTS`` names one, too.
        """
        mdkt = cfg.MODEL.MDKT
        if not mdkt.TEACHER_WEIGHTS:
            raise UsageError(
                "MDKT starts from a trained teacher: name the checkpoint of stage 1 in MODEL.MDKT.TEACHER_WEIGHTS, or "
                "run projects/MDKT/train_net.py, which trains it first"
            )
        _check_start(cfg)
        path = mdkt.TEACHER_WEIGHTS.replace("{seed}", str(cfg.SEED))
        _check_teacher(path, cfg)
        hand_over(path, self.teacher, self.student, mdkt.RESET)

    def train(self, mode: bool = True) -> "MDKT":
        """As of any module, but that a frozen teacher of running statistics goes on using these."""
        super().train(mode)
        if self.mode == FROZEN and self.teacher_bn == "running":
            self._use_running_statistics()
        return self

    def _use_running_statistics(self) -> None:
        for norm in _batch_norms(self.teacher):
            norm.eval()

    def _freeze_teacher(self) -> None:
        self.teacher.requires_grad_(False)
        if self.teacher_bn == "running":
            self._use_running_statistics()
            return
        for norm in _batch_norms(self.teacher):
            if isinstance(norm, GhostBatchNorm):
                raise SettingsError("MODEL.MDKT.TEACHER_BN batch is not for GhostBN: set it to running")
            # In training it then uses those of the batch and leaves its own alone, which it has for evaluation
            norm.track_running_stats = False

    def feature_lengths(self) -> dict[str, int]:
        """Length of each part of the student's vector."""
        return self.student.feature_lengths()

    def simplify_for_inference(self) -> None:
        """Take away, in place, what no output depends on; see :mod:`mdpr_fastreid.inference.folding`."""
        self.teacher = None


def check_transfer(cfg: CfgNode) -> None:
    """Refuse, before stage 1 is trained, what stage 2 could not begin with.

    Args:
        cfg: the config of stage 2.

    Raises:
        UsageError: as where the model and the loader are built, and the model is prepared.
    """
    _check_start(cfg)
    on_cpu = cfg.clone()
    on_cpu.defrost()
    on_cpu.MODEL.DEVICE, on_cpu.MODEL.HEADS.NUM_CLASSES = "cpu", max(cfg.MODEL.HEADS.NUM_CLASSES, 1)
    build_model(on_cpu)  # with its pretrained weights
    build_train_loader(cfg)  # with its data and sampler


def _check_start(cfg: CfgNode) -> None:
    if cfg.MODEL.WEIGHTS:
        raise UsageError(
            f"MODEL.WEIGHTS {cfg.MODEL.WEIGHTS}: both networks of MDKT start from the checkpoint of stage 1, which "
            'MODEL.MDKT.TEACHER_WEIGHTS names; set MODEL.WEIGHTS to "", or evaluate it with --eval-only'
        )


def _check_teacher(path: str, cfg: CfgNode) -> None:
    """Refuse a teacher of other identities or another activation, neither of which its weights show."""
    folder = Path(path).parent
    found = first_difference(folder, cfg, ("DATASETS.NAMES", "DATASETS.COMBINEALL"))
    if found:
        raise UsageError(
            f"{path} was trained with {found.key} {found.then} ({folder / FILE}), and it is {found.now} now: stage 1 "
            "has to be trained on the same identities"
        )
    found = first_difference(folder, teacher_config(cfg), ("MODEL.MDKT.LAST_BLOCK_RELU",))
    if found:
        raise UsageError(
            f"{path} was trained with {found.key} {found.then} ({folder / FILE}), and the teacher is built with "
            f"{found.now}: name in MODEL.MDKT.TEACHER_CONFIG the config it was trained with"
        )


def _teacher(cfg: CfgNode) -> VideoReID:
    teacher, mdkt = VideoReID(teacher_config(cfg)), cfg.MODEL.MDKT
    teacher.heads.set_trained(mdkt.CE.SCALE > 0 or (mdkt.MODE == MUTUAL and mdkt.KD.SCALE > 0))
    return teacher


def _student(cfg: CfgNode) -> VideoReID | MDPRStudent:
    mdkt = cfg.MODEL.MDKT
    if mdkt.STUDENT == VIDEO_REID:
        student = VideoReID(cfg)
        student.heads.set_trained(mdkt.CE.SCALE > 0 or mdkt.KD.SCALE > 0)
        if LAYER4 in mdkt.RESET and not hasattr(student.backbone, LAYER4):
            raise SettingsError(
                f"MODEL.MDKT.RESET names {LAYER4}, which {cfg.MODEL.BACKBONE.NAME} has not: leave it out, as in "
                'MODEL.MDKT.RESET ("head",)'
            )
        return student
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.META_ARCHITECTURE = "MDPR"
    check_config(cfg, parts=("model",))
    return MDPRStudent(cfg)


def _check_activations(cfg: CfgNode, teacher: VideoReID, student: VideoReID | MDPRStudent) -> None:
    """Refuse a student that starts from weights which were trained with another activation, or without one."""
    if same_shapes(teacher, student) and has_last_activation(teacher) != has_last_activation(student):
        own = cfg.MODEL.MDKT.LAST_BLOCK_RELU
        raise SettingsError(
            f"MODEL.MDKT.LAST_BLOCK_RELU is {own} for the student, and {not own} for the teacher whose weights it "
            f"starts from (MODEL.MDKT.TEACHER_CONFIG {cfg.MODEL.MDKT.TEACHER_CONFIG}): set it in both configs"
        )


def _batch_norms(network: nn.Module) -> Iterator[_BatchNorm]:
    return (
        module for module in network.modules() if isinstance(module, _BatchNorm) and module.running_mean is not None
    )
