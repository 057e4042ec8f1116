"""Every configuration key this plugin adds to FastReID's, in one place."""

from pathlib import Path

from fastreid.config import CfgNode

CONFIGS = Path(__file__).parents[1] / "configs"
"""The configurations that come with the plugin, also when it is installed from a wheel."""


def add_mdpr_config(cfg: CfgNode) -> None:
    """Add the plugin's keys, with their defaults, to a FastReID config, in place.

    Keys that are already there keep their value, so calling it twice is harmless.

    Args:
        cfg: a config from ``fastreid.config.get_cfg()``.
    """
    for key, default in _defaults().items():
        _set_missing(cfg, key, default)


def config_file(name: str) -> str:
    """The path of a configuration: a file of the user's own, or one that comes with the plugin.

    Args:
        name: a path, or the name of one of ours: ``MDPR/duke_r50.yml``, with or without ``configs/`` before it.

    Returns:
        The path as it is if the file exists, or if there is no such configuration of ours.
    """
    ours = CONFIGS / name.removeprefix("configs/")
    return name if Path(name).exists() or not ours.is_file() else str(ours)


def _defaults() -> CfgNode:
    C = CfgNode()

    # Seed of Python, NumPy, torch and the loader's workers; -1 draws a new one each run
    C.SEED = -1

    C.DATASETS = CfgNode()
    # A user's own folders as data sets: pairs (name, folder), see docs/data.md
    C.DATASETS.CUSTOM = ()
    # Regular expression whose one group is the camera in the file names of these folders; "" if they do not tell it
    C.DATASETS.CUSTOM_CAMERA_PATTERN = ""

    C.DATALOADER = CfgNode()
    # Whether training goes on with another image of the identity when one cannot be read
    C.DATALOADER.SKIP_DAMAGED = False
    # Folder for the resized training images, which are then decoded and resized in the first epoch only; "" for none.
    # They take 3 x height x width bytes each, in a file that goes with the run
    C.DATALOADER.CACHE = ""

    C.SOLVER = CfgNode()
    C.SOLVER.AMP = CfgNode()
    # Autocast type on a GPU: "float16" (with loss scaling, as stock) or "bfloat16" (without)
    C.SOLVER.AMP.DTYPE = "float16"
    # Whether float32 training on a CPU computes wide 3x3 convolutions by Winograd's algorithm
    C.SOLVER.WINOGRAD = True
    # Whether SGD, Adam and AdamW update all of a parameter in one pass (PyTorch's fused kernels)
    C.SOLVER.FUSED = True

    C.TEST = CfgNode()
    # Whether train_net.py evaluates the network before training too, and prints both in the end
    C.TEST.EVAL_UNTRAINED = False
    # Whether evaluation runs the folded network: the same features from less arithmetic (docs/inference.md)
    C.TEST.FOLDED = True
    # Precision of evaluation: "" (float32), "bfloat16" or "float16"; features are in float32 in any case
    C.TEST.AMP = ""

    C.MODEL = CfgNode()
    # SHA-256 that the file of MODEL.WEIGHTS has to have, or its first 8 digits or more; "" takes any file. With
    # "sha256:" before it, it is no number to YAML even if it has no letters
    C.MODEL.WEIGHTS_SHA256 = ""
    # Whether MDPR's stages are compiled by torch.compile in training, where a compiler works (docs/training.md)
    C.MODEL.COMPILE = False
    # Whether MDPR trains on images stored channels-last; the same numbers but for rounding (docs/training.md)
    C.MODEL.CHANNELS_LAST = False
    C.MODEL.BACKBONE = CfgNode()
    # The same for the file of MODEL.BACKBONE.PRETRAIN_PATH, or the one that the toolbox downloads
    C.MODEL.BACKBONE.PRETRAIN_SHA256 = ""
    C.MODEL.MDPR = CfgNode()
    # Channels E of every embedded map and of each head but the attention and fusion ones
    C.MODEL.MDPR.EMBEDDING_DIM = 512
    # Horizontal stripes P of the hard content branch
    C.MODEL.MDPR.PARTS = 2
    # Which branches exist: "hard", "soft" or both
    C.MODEL.MDPR.BRANCHES = ("hard", "soft")

    # Stages, of 3 and 4, whose activations are computed again in the backward pass instead of being kept: less memory
    C.MODEL.MDPR.CHECKPOINT_STAGES = ()

    C.MODEL.MDPR.ATTENTION = CfgNode()
    # Foreground attention maps M at each of the two granularities
    C.MODEL.MDPR.ATTENTION.MAPS = 2
    # Whether the maps of stage 4 guide the attention maker of stage 3
    C.MODEL.MDPR.ATTENTION.GUIDED = True
    # Weight of the attention diversity loss; 0 leaves it out
    C.MODEL.MDPR.ATTENTION.DIVERSITY_SCALE = 1.0
    # Weight of the attention area loss (the paper's beta); 0 leaves it out
    C.MODEL.MDPR.ATTENTION.AREA_SCALE = 0.001

    C.MODEL.MDPR.DISTILL = CfgNode()
    # Mutual distillation between the global feature of the hard branch and stage 4 of the soft one
    C.MODEL.MDPR.DISTILL.ENABLED = True
    # Weight of the mutual distillation loss
    C.MODEL.MDPR.DISTILL.SCALE = 1.0

    C.MODEL.MDPR.FUSION = CfgNode()
    # Whether the branches' maps are fused into a feature of their own
    C.MODEL.MDPR.FUSION.ENABLED = True

    # What the inference vector is made of, in this order
    C.MODEL.MDPR.INFERENCE_FEATURES = ("hard_global", "hard_parts", "soft4", "soft3", "fusion")
    return C


def _set_missing(cfg: CfgNode, key: str, default) -> None:
    if key not in cfg:
        cfg[key] = default
    elif isinstance(default, CfgNode):
        for name, value in default.items():
            _set_missing(cfg[key], name, value)
