"""Files of published transformers, small ones: names as published, every tensor one number seen through its shape."""

import torch
from support.golden_transformers import SOLIDER, VIT
from support.weight_kinds import numbered, other_network, under

SWIN = {"embed_dim": 24, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 8)}
PLAIN = {"embed_dim": 48, "depth": 4, "num_heads": 3}
SIZE = (96, 48)


def _shaped(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    return numbered({name: torch.empty(shape, device="meta") for name, shape in shapes.items()})


def _of_persons(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A vision transformer's, for images of 256 x 128."""
    return {**state_dict, "pos_embed": torch.full((1, 1, 1), 5.0).expand(1, 129, 48)}


SOLIDERS = _shaped(SOLIDER["micro"]["state_dict"])
TRANSREID = _shaped(VIT["transreid stride 16"]["state_dict"])
STEM = _shaped(VIT["transreid-ssl ICS stem"]["state_dict"])
CLIPS = _shaped(VIT["CLIP-ReID image encoder"]["state_dict"])

_HEAD = {"head.mlp.0.weight": torch.zeros(3, 3)}
_NECK = {f"bottleneck.{name}": torch.zeros(192) for name in ("weight", "bias", "running_mean", "running_var")}
_NECK |= {"bottleneck.num_batches_tracked": torch.zeros(()), "classifier.weight": torch.zeros(4, 192)}
_TEXT = {"text_encoder.ln_final.weight": torch.zeros(5), "prompt_learner.cls_ctx": torch.zeros(2, 2)}
_LAST = {
    **{f"b1.0.{n.removeprefix('blocks.3.')}": v * 0 - 3 for n, v in TRANSREID.items() if n.startswith("blocks.3.")},
    **{f"b1.1.{end}": torch.full((48,), -4.0) for end in ("weight", "bias")},
    **{f"b2.1.{end}": torch.full((48,), -5.0) for end in ("weight", "bias")},
}

SWINS = ("solider_swin_tiny", SWIN)
VITS = ("vit_base_patch16_224", PLAIN)
ICS = ("transreid_ssl_ics_small", PLAIN)
CLIP = ("vit_base_patch16_clip_quickgelu_224", {**PLAIN, "depth": 12})

FILES = {
    "SOLIDER, converted": (SWINS, SOLIDERS, "SOLIDER; SOLIDER's Swin transformer"),
    "SOLIDER, pretraining": (
        SWINS,
        {
            "teacher": {**under("backbone.", SOLIDERS), **_HEAD},
            "student": under("module.backbone.", other_network(SOLIDERS)),
            "dino_loss": {"center": torch.zeros(1, 3)},
            "epoch": 100,
        },
        "SOLIDER, self-distillation (DINO and others), teacher (student beside it: left)",
    ),
    "SOLIDER-REID": (SWINS, {**under("base.", SOLIDERS), **_NECK}, "SOLIDER, fine-tuned; SOLIDER's Swin transformer"),
    "TransReID-SSL, stem": (
        ICS,
        {"teacher": {**under("module.backbone.", _of_persons(STEM)), **_HEAD}},
        "TransReID-SSL (LUPerson), with its convolutional stem, self-distillation",
    ),
    "TransReID-SSL": (VITS, _of_persons(TRANSREID), "TransReID-SSL, PersonViT or another of 16 x 8 patches"),
    "PersonViT": (
        VITS,
        {"target_encoder": under("module.", {**_of_persons(TRANSREID), "mask_token": torch.zeros(1, 1, 48)})},
        "PersonViT, a target encoder",
    ),
    "TransReID": (VITS, {**under("base.", TRANSREID), **_NECK, **_LAST}, "backbone, fine-tuned; vision transformer"),
    "CLIP": (CLIP, {**under("visual.", CLIPS), "logit_scale": torch.zeros(())}, "CLIP; vision transformer of CLIP"),
    "CLIP-ReID": (
        CLIP,
        {**under("image_encoder.", CLIPS), **_TEXT, **_NECK},
        "CLIP, image encoder of a pair (CLIP-ReID and others), fine-tuned (prompt_learner, text_encoder beside it",
    ),
}
"""By kind: the model and its arguments, the content of the file, and what the log calls it."""
