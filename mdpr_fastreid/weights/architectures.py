"""Which architecture a backbone is, told by the names of its weights: timm's, FastReID's and those of its authors."""

import re
from collections.abc import Iterable, Mapping

SOLIDER = "SOLIDER's Swin transformer"
CLIP = "vision transformer of CLIP"
WITH_STEM = "vision transformer with a convolutional stem"
VISION_TRANSFORMER = "vision transformer"

ARCHITECTURES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (SOLIDER, (r"(stages\.0\.blocks\.0\.attn\.w_msa\.|layers\.1\.downsample\.controller\.)",)),
    ("Swin transformer V2", (r"(layers|stages|features)\.\d\.(blocks\.)?0\.attn\.(cpb_mlp|meta_mlp)\.",)),
    ("Swin transformer", (r"(layers|features)\.\d+\.(blocks\.)?\d+\.attn\.relative_position_bias_table",)),
    ("TinyViT", (r"stages\.1\.blocks\.0\.attn\.attention_biases",)),
    ("PVT V2", (r"stages\.0\.blocks\.0\.attn\.q\.",)),
    ("MViT V2", (r"stages\.0\.blocks\.0\.attn\.(norm|pool)_q",)),
    ("DaViT", (r"stages\.0\.blocks\.0\.[01]\.attn\.qkv\.",)),
    ("FocalNet", (r"layers\.0\.blocks\.0\.modulation\.",)),
    ("Hiera", (r"pos_embed", r"blocks\.[1-9]\d*\.proj\.weight")),
    ("EVA-02 or BEiT", (r"patch_embed\.", r"blocks\.0\.attn\.(q_bias|q_proj)")),
    (CLIP, (r"(class_embedding|norm_pre\.weight)", r"(transformer\.resblocks|blocks)\.0\.")),
    (WITH_STEM, (r"patch_embed\.conv\.0\.", r"blocks\.0\.attn\.")),
    (
        "vision transformer with layer scale (DINOv2, DeiT III)",
        (r"patch_embed\.", r"blocks\.0\.(\d+\.)?(ls1\.gamma|gamma_1)"),
    ),
    (
        VISION_TRANSFORMER,
        (r"(patch_embed\.|conv_proj\.)", r"(blocks\.0\.(\d+\.)?attn\.|encoder\.layers\.encoder_layer_0\.)"),
    ),
    ("EdgeNeXt", (r"stages\.\d\.blocks\.\d+\.xca\.",)),
    ("ConvNeXt V2", (r"stages\.0\.(blocks\.)?0\.(conv_dw|dwconv)\.weight", r"stages\.0\.(blocks\.)?0\.(mlp\.)?grn\.")),
    ("ConvNeXt", (r"(stages\.0\.(blocks\.)?0\.(conv_dw|dwconv)\.weight|features\.1\.0\.layer_scale)",)),
    ("RepViT", (r"stages\.0\.blocks\.0\.token_mixer\.conv\.",)),
    ("InceptionNeXt", (r"stages\.0\.blocks\.0\.token_mixer\.dwconv_hw\.",)),
    ("MetaFormer (CAFormer, PoolFormer)", (r"stages\.0\.blocks\.0\.token_mixer\.pwconv1\.",)),
    ("FastViT", (r"stem\.0\.(conv_kxk|reparam_conv)",)),
    ("MambaOut", (r"stages\.0\.blocks\.0\.fc1\.", r"stages\.0\.blocks\.0\.conv\.")),
    ("StarNet", (r"stages\.0\.1\.f1\.",)),
    ("HGNet V2", (r"stem\.stem1\.",)),
    ("ResNet V2", (r"stem[._]conv\d?\.weight", r"stages\.0\.blocks\.0\.conv1\.weight")),
    ("RepVGG", (r"stage0\.rbr_",)),
    ("RegNet or EfficientNet of pycls", (r"s1\.b1\.", r"stem\.")),
    ("OSNet", (r"conv1\.conv\.weight", r"conv2\.0\.")),
    ("ShuffleNet", (r"first_conv\.", r"features\.")),
    ("ResNet as a numbered sequence", (r"0\.weight", r"4\.0\.conv1\.weight", r"7\.0\.conv1\.weight")),
    ("ResNeSt or ResNet-D (a stem of three convolutions)", (r"conv1\.0\.weight", r"layer1\.0\.conv1\.weight")),
    ("ResNet", (r"conv1\.weight", r"layer[1-4]\.0\.conv1\.weight")),
    ("MobileNet, EfficientNet or VGG", (r"(features\.0\.|conv_stem\.)",)),
)
"""Architectures by patterns that names begin with; all of them have to be there. The first that fits is it."""

_RESNET_BLOCKS = {(2, 2, 2, 2): "18", (3, 4, 6, 3): "34 50", (3, 4, 23, 3): "101", (3, 8, 36, 3): "152"}
_LISTS_OF_BLOCKS = re.compile(r"blocks|(layer|stage|s)\d|stages(_\d+)?")
_NUMBER = re.compile(r"b?(\d+)")
"""Of a block; RegNet's blocks are ``s1.b1``."""


def has(names: Iterable[str], marks: tuple[str, ...]) -> bool:
    """Whether each of these patterns is the beginning of a name."""
    return all(any(re.match(mark, name) for name in names) for mark in marks)


def architecture_of(names: Mapping[str, object]) -> str:
    """The architecture that a backbone's names tell, ResNets with their depth; "" if it is none of those known."""
    found = next((kind for kind, marks in ARCHITECTURES if has(names, marks)), "")
    if found != "ResNet":
        return found
    depths = blocks_of(names)
    blocks = tuple(len(depths.get(f"layer{stage}", ())) for stage in (1, 2, 3, 4))
    depth = _RESNET_BLOCKS.get(blocks, "")
    if " " in depth:
        depth = depth.split()["layer1.0.conv3.weight" in names]
    ibn = "-IBN" if any(".bn1.IN." in name for name in names) else ""
    return f"ResNet-{depth or 'of ' + str(blocks) + ' blocks'}{ibn}"


def blocks_of(names: Iterable[str]) -> dict[str, set[int]]:
    """The numbers of the blocks in each list of blocks: ``{"layers.2.blocks": {0, 1, 2, 3, 4, 5}, ...}``.

    Of a list of stages those in each stage are counted, and not the stages: a model may do without the last one.
    """
    found: dict[str, set[int]] = {}
    for name in names:
        parts = name.split(".")
        in_list = False
        for place, part in enumerate(parts):
            number = _NUMBER.fullmatch(part) if in_list else None
            if number is None:
                in_list = _LISTS_OF_BLOCKS.fullmatch(part) is not None
            elif parts[place - 1] != "stages":
                found.setdefault(".".join(parts[:place]), set()).add(int(number[1]))
    return found


def in_one_piece(names: Iterable[str]) -> list[str]:
    """A backbone's names without ``backbone.``, those of MDPR's pieces as they are in a whole one, as far as is told.

    Numbered blocks of a piece are called ``layer3`` and ``layer4``, as a ResNet's are.
    """
    whole = []
    for name in names:
        name = re.sub(r"^backbone\.", "", name)
        name = re.sub(r"^trunk\.(start\.)?", "", name)
        name = re.sub(r"^(hard|soft)\.stage([34])\.(?=\d|non_local)", r"layer\2.", name)
        name = re.sub(r"^(hard|soft)\.stage[34]\.(stage\.)?", "", name)
        whole.append(re.sub(r"^(stages|layers|blocks)_(\d+)\.", r"\1.\2.", name))
    return whole
