"""Settings of the field ``clip`` that contradict others."""

from collections.abc import Iterator

from fastreid.config import CfgNode


def clip_problems(cfg: CfgNode, part: str) -> Iterator[str]:
    """A line about each setting that does not go with the field ``clip``, where ``INPUT.FIELDS`` names it.

    Args:
        cfg: a config with the plugin's keys.
        part: ``"training"`` or ``"evaluation"``.
    """
    if "clip" in cfg.INPUT.FIELDS:
        yield from _training_problems(cfg) if part == "training" else _evaluation_problems(cfg)


def _training_problems(cfg: CfgNode) -> Iterator[str]:
    if not cfg.INPUT.CLIP.WITH_IMAGE and "mask" in cfg.INPUT.FIELDS:
        yield (
            "INPUT.CLIP.WITH_IMAGE False leaves out the images that masks belong to: set it to True, or take mask out "
            "of INPUT.FIELDS"
        )
    if cfg.DATALOADER.CACHE:
        yield (
            'DATALOADER.CACHE keeps resized images, not the frames of clips (INPUT.FIELDS): leave it at "", or take '
            "clip out of INPUT.FIELDS"
        )


def _evaluation_problems(cfg: CfgNode) -> Iterator[str]:
    from fastreid.utils import comm

    processes, items = comm.get_world_size(), cfg.TEST.IMS_PER_BATCH
    if cfg.INPUT.CLIP.TEST_FRAMES == 0 and items > processes:
        yield (
            "INPUT.CLIP.TEST_FRAMES 0 takes all frames, and tracklets differ in length: set TEST.IMS_PER_BATCH "
            f"{items} to {processes}, one item for each process, or INPUT.CLIP.TEST_FRAMES to a number of frames"
        )
