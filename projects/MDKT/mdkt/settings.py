"""What a config of stage 2 says of both networks, and what it must not say."""

from collections.abc import Iterator
from pathlib import Path

from fastreid.config import CfgNode

from mdkt.config import FROZEN, MUTUAL, VIDEO_REID
from mdpr_fastreid.config import read_config
from mdpr_fastreid.errors import SettingsError

CONFIGS = Path(__file__).parents[1] / "configs"
"""The configs of the project, by whose names ``MODEL.MDKT.TEACHER_CONFIG`` may name one."""


def teacher_config_file(cfg: CfgNode) -> str:
    """The file that ``MODEL.MDKT.TEACHER_CONFIG`` names, a path or a name in :data:`CONFIGS`; "" for none."""
    name = cfg.MODEL.MDKT.TEACHER_CONFIG
    ours = CONFIGS / name
    return str(ours) if name and not Path(name).exists() and ours.is_file() else name


def teacher_config(cfg: CfgNode) -> CfgNode:
    """The config that the teacher of stage 2 is built by.

    It is that of stage 2 itself, or has the backbone of ``MODEL.MDKT.TEACHER_CONFIG``. Pretrained weights are not
    loaded, as all come from stage 1.

    Raises:
        SettingsError: the student is no :class:`VideoReID`, and the config does not say what the teacher is.
        UsageError: the file cannot be read.
    """
    file, teacher = teacher_config_file(cfg), cfg.clone()
    if not file and cfg.MODEL.MDKT.STUDENT != VIDEO_REID:
        raise SettingsError(
            f"MODEL.MDKT.STUDENT {cfg.MODEL.MDKT.STUDENT} learns from a {VIDEO_REID}: name the config of that, of "
            "stage 1, in MODEL.MDKT.TEACHER_CONFIG"
        )
    teacher.defrost()
    if file:
        own = read_config(file, parts=("model",)).MODEL
        if own.META_ARCHITECTURE != VIDEO_REID:
            raise SettingsError(
                f"MODEL.MDKT.TEACHER_CONFIG {file} trains a {own.META_ARCHITECTURE}, and the teacher is a "
                f"{VIDEO_REID}: name the config of stage 1"
            )
        teacher.MODEL.BACKBONE, teacher.MODEL.HEADS = own.BACKBONE, own.HEADS
        teacher.MODEL.HEADS.NUM_CLASSES = cfg.MODEL.HEADS.NUM_CLASSES
        teacher.MODEL.MDKT.LAST_BLOCK_RELU = own.MDKT.LAST_BLOCK_RELU
    teacher.MODEL.BACKBONE.PRETRAIN = False
    return teacher


def check_settings(cfg: CfgNode) -> None:
    """Refuse settings of stage 2 that contradict each other.

    Raises:
        SettingsError: one line with all that is wrong.
    """
    wrong = list(_contradictions(cfg))
    if wrong:
        raise SettingsError("; ".join(wrong))


def _contradictions(cfg: CfgNode) -> Iterator[str]:
    mdkt, frames = cfg.MODEL.MDKT, cfg.INPUT.CLIP.FRAMES
    if "clip" not in cfg.INPUT.FIELDS:
        yield 'MDKT teaches with clips: set INPUT.FIELDS ("clip",)'
    if frames < mdkt.STUDENT_FRAMES:
        yield (
            f"MODEL.MDKT.STUDENT_FRAMES {mdkt.STUDENT_FRAMES} is more than the {frames} frames of a clip "
            "(INPUT.CLIP.FRAMES), of which the student sees some"
        )
    if mdkt.PD.MUTUAL and mdkt.MODE != MUTUAL:
        yield f"MODEL.MDKT.PD.MUTUAL moves the teacher, which MODEL.MDKT.MODE {mdkt.MODE} rules out: set MODE mutual"
    own, between = mdkt.CE.SCALE or mdkt.TRI.SCALE, mdkt.KD.SCALE or mdkt.TCL.SCALE
    if mdkt.STUDENT == VIDEO_REID and not (own or between or mdkt.PD.SCALE):
        yield "the weights MODEL.MDKT.CE, TRI, KD, PD and TCL.SCALE are all 0: nothing is learnt"
    elif mdkt.MODE != FROZEN and not (own or (mdkt.MODE == MUTUAL and (between or (mdkt.PD.MUTUAL and mdkt.PD.SCALE)))):
        yield f"MODEL.MDKT.MODE {mdkt.MODE} trains the teacher, and no loss does: set MODE {FROZEN}, or CE or TRI.SCALE"
    if mdkt.STUDENT != VIDEO_REID and cfg.MODEL.HEADS.NECK_FEAT != "after":
        yield f"MODEL.MDKT.STUDENT {mdkt.STUDENT} needs MODEL.HEADS.NECK_FEAT after: what is compared is what it learns"
