"""What networks of frames give in evaluation: embeddings of images and of clips, and which are compared."""

from collections.abc import Callable, Mapping

import torch
from fastreid.config import CfgNode

from mdpr_fastreid.errors import SettingsError, UsageError

IMAGE, CLIP = "image", "clip"
_PAIRINGS = {"I2V": (IMAGE, CLIP), "V2V": (CLIP, CLIP), "I2I": (IMAGE, IMAGE)}

FRAMES_AT_ONCE = 256
"""Frames that go through a network together in evaluation: a tracklet may have a thousand of them."""

Pairings = Mapping[str, tuple[str, str]]


def pairings_of(cfg: CfgNode) -> dict[str, tuple[str, str]]:
    """Names of the outputs that queries and gallery are compared by, by the names in ``MODEL.MDKT.PAIRINGS``.

    Raises:
        SettingsError: one is there twice, or compares clips that the batches do not have.
    """
    names = tuple(cfg.MODEL.MDKT.PAIRINGS)
    if len(set(names)) < len(names):
        raise SettingsError(f"MODEL.MDKT.PAIRINGS {names} names a pairing twice")
    pairings = {name: _PAIRINGS[name] for name in names}
    with_clips = [name for name, pair in pairings.items() if CLIP in pair]
    if with_clips and CLIP not in cfg.INPUT.FIELDS:
        raise SettingsError(
            f"MODEL.MDKT.PAIRINGS: {with_clips[0]} compares clips; INPUT.FIELDS {tuple(cfg.INPUT.FIELDS)} has none: "
            'set INPUT.FIELDS ("clip",), or MODEL.MDKT.PAIRINGS ("I2I",)'
        )
    return pairings


def embedded(
    embed: Callable[[torch.Tensor], torch.Tensor], batch: dict | torch.Tensor, pairings: Pairings
) -> torch.Tensor | dict[str, torch.Tensor]:
    """The embeddings of a batch in evaluation.

    Args:
        embed: images ``[N, 3, H, W]`` -> ``[N, C]``.
        batch: a dict with ``images`` ``[B, 3, H, W]`` and ``clips`` ``[B, T, 3, H, W]``, as far as the pairings need
            them; or one of these tensors.
        pairings: as of :func:`pairings_of`.

    Returns:
        ``image`` and ``clip``, each ``[B, C]``, as far as they are compared; of a tensor ``[B, C]``.

    Raises:
        UsageError: the batch lacks one of them.
    """
    if not isinstance(batch, dict):
        return embed(batch) if batch.dim() == 4 else embedded_clips(embed, batch)
    wanted = {name for pair in pairings.values() for name in pair}
    for name, key in ((IMAGE, "images"), (CLIP, "clips")):
        if name in wanted and key not in batch:
            raise UsageError(
                f"MODEL.MDKT.PAIRINGS {', '.join(pairings)} need batches with {key}, which this one has not"
            )
    outputs = {}
    if IMAGE in wanted:
        outputs[IMAGE] = embed(batch["images"])
    if CLIP in wanted:
        outputs[CLIP] = embedded_clips(embed, batch["clips"])
    return outputs


def embedded_clips(embed: Callable[[torch.Tensor], torch.Tensor], clips: torch.Tensor) -> torch.Tensor:
    """The mean over the frames of clips ``[B, T, 3, H, W]``, whatever their number: ``[B, C]``."""
    blocks = [embed(frames) for frames in clips.flatten(0, 1).split(FRAMES_AT_ONCE)]
    return torch.cat(blocks).unflatten(0, clips.shape[:2]).mean(dim=1)


def clips_of(batch: dict | torch.Tensor, architecture: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Clips ``[B, T, 3, H, W]`` and targets ``[B]`` of a training batch; images ``[B, 3, H, W]`` are clips of a frame.

    Raises:
        ValueError: the batch lacks one of them.
    """
    if not isinstance(batch, dict) or "targets" not in batch or not {"clips", "images"} & batch.keys():
        raise ValueError(
            f"{architecture} in training mode needs a batch with 'targets' and 'clips' (INPUT.FIELDS ('clip',)) or "
            "'images'; call eval() for embeddings"
        )
    clips = batch["clips"] if "clips" in batch else batch["images"]
    clips = clips if clips.dim() == 5 else clips.unsqueeze(1)
    # Precise BN marks a batch whose identities are not those of training with -1: any class does for it
    return clips, batch["targets"].clamp_min(0)
