"""Every key that the plugin adds to FastReID's, as data: adding a key is one line here.

The same kind of table for FastReID's own keys is in :mod:`mdpr_fastreid.config.fastreid_keys`. Both are what
:func:`mdpr_fastreid.config.check_config` checks and what ``docs/reference/config.md`` is generated from.
"""

from mdpr_fastreid.config.keys import Key
from mdpr_fastreid.config.values import (
    arguments,
    interval,
    joined,
    many,
    name_or_none,
    named_folders,
    number,
    one_of,
    path,
    pattern_of_camera,
    registered,
    sha256,
    shares,
    subset,
    text,
    whole,
    yes_or_no,
)

MDPR = ("MODEL.META_ARCHITECTURE", "MDPR")
CLIP = ("INPUT.FIELDS", "clip")
TIMM = ("MODEL.BACKBONE.NAME", "build_timm_backbone")

PLUGIN_KEYS = (
    Key("SEED", -1, whole(-1), "Seed of Python, NumPy, torch and the loader's workers; -1 draws a new one in each run"),
    # Data
    Key("DATASETS.CUSTOM", (), named_folders, "Your own folders as data sets (docs/reference/datasets.md)"),
    Key(
        "DATASETS.CUSTOM_CAMERA_PATTERN",
        "",
        pattern_of_camera,
        'Finds the camera in the file names of these folders; "" if the names do not have it',
    ),
    Key(
        "DATALOADER.SKIP_DAMAGED",
        False,
        yes_or_no,
        "Whether training goes on with another image of the identity when one cannot be read",
    ),
    Key(
        "DATALOADER.CACHE",
        "",
        path,
        "Folder for the resized training images, which are then decoded and resized in the first epoch only; they take "
        "3 x height x width bytes each, once for all processes of a user on a machine (Linux), in a file that is gone "
        "when the last of them ends",
    ),
    Key(
        "INPUT.FIELDS",
        (),
        many(registered("FIELD_REGISTRY")),
        "What a batch holds beside the image, by name: mask, clip, or fields of your own (docs/extending.md)",
    ),
    Key(
        "INPUT.MASK.GROUPS",
        "",
        name_or_none("PART_GROUPS"),
        "Part grouping whose classes the field mask has (docs/how-to/masks.md); "
        '"" leaves the labels of label images as they are',
        ("INPUT.FIELDS", "mask"),
    ),
    Key(
        "INPUT.MASK.MISSING",
        "error",
        one_of("error", "ignore"),
        "What a training image without a mask is: an error, or unlabelled (255 at every pixel)",
        ("INPUT.FIELDS", "mask"),
    ),
    Key(
        "INPUT.MASK.FOLDER",
        "",
        text,
        'Folder within masks/ of a data set that has the masks; "" for where they lie in general '
        "(docs/how-to/masks.md)",
        ("INPUT.FIELDS", "mask"),
    ),
    Key("INPUT.CLIP.FRAMES", 8, whole(1), "Frames of the field clip in training (docs/how-to/video.md)", CLIP),
    Key(
        "INPUT.CLIP.TEST_FRAMES",
        8,
        whole(0),
        "Frames of the field clip in evaluation; 0 for all of a tracklet, with one item in a process's batch",
        CLIP,
    ),
    Key(
        "INPUT.CLIP.SAMPLING",
        "parts",
        one_of("parts", "chunk", "multiview"),
        "Which frames of a tracklet, or in training of all tracklets of its identity (multiview), are in its clip",
        CLIP,
    ),
    Key(
        "INPUT.CLIP.VIEWS",
        "tracklet",
        one_of("tracklet", "camera"),
        "What multiview takes the frames of a clip from in turn: tracklets of the identity, or its cameras",
        ("INPUT.CLIP.SAMPLING", "multiview"),
    ),
    Key(
        "INPUT.CLIP.CONSISTENT",
        True,
        yes_or_no,
        "Whether the frames of a clip are augmented by the draws of their image; if not, each has its own, as an image",
        CLIP,
    ),
    Key(
        "INPUT.CLIP.WITH_IMAGE",
        True,
        yes_or_no,
        "Whether training batches have the image beside the clip; batches of evaluation have both in any case",
        CLIP,
    ),
    Key(
        "INPUT.CLIP.FROM_IMAGES",
        False,
        yes_or_no,
        "Whether the training images of an identity under a camera are a tracklet, where the data set has none",
        CLIP,
    ),
    Key(
        "INPUT.REA.AREA",
        (0.02, 0.33),
        shares,
        "Share of the image's area that random erasing erases, from and to",
    ),
    Key("INPUT.REA.RATIO", (0.3, 3.3), interval, "Height by width of what random erasing erases, from and to"),
    # Training
    Key(
        "SOLVER.AMP.DTYPE",
        "float16",
        one_of("float16", "bfloat16"),
        "Autocast type: float16 (with loss scaling, as FastReID) or bfloat16 (without); a CPU knows bfloat16 only",
    ),
    Key(
        "SOLVER.WINOGRAD",
        True,
        yes_or_no,
        "Whether float32 training on a CPU computes wide 3x3 convolutions by Winograd's algorithm",
    ),
    Key(
        "SOLVER.PRODUCT_GRADIENTS",
        True,
        yes_or_no,
        "Whether bfloat16 training on a CPU computes gradients of convolutions on small maps as one matrix product",
    ),
    Key(
        "SOLVER.FUSED",
        True,
        yes_or_no,
        "Whether SGD, Adam and AdamW update a parameter in one pass (PyTorch's fused kernels)",
    ),
    Key(
        "SOLVER.ACCUMULATE",
        1,
        whole(1, 4096),
        "Parts in which the batch of a process is computed, with the losses of the whole batch: less memory for one "
        "more forward pass (docs/cluster.md)",
    ),
    Key(
        "SOLVER.GATHER",
        False,
        yes_or_no,
        "Whether the losses of several processes are those of one with the whole batch, so that triplets are mined "
        "over all (docs/cluster.md)",
    ),
    Key(
        "SOLVER.LAYER_DECAY",
        1.0,
        number(0.01, 1),
        "Learning rate of a layer of the backbone by that of the next one; 1 for the same in all",
    ),
    Key(
        "SOLVER.BACKBONE_LR_FACTOR",
        1.0,
        number(above=0),
        "Learning rate of the backbone by that of the rest, as HEADS_LR_FACTOR is that of the heads",
    ),
    Key(
        "SOLVER.DECAY_MATRICES_ONLY",
        False,
        yes_or_no,
        "Whether weight decay leaves out parameters of one dimension (biases, norms, scales), class tokens, position "
        "embeddings and relative position tables, whatever the other keys say",
    ),
    # Evaluation
    Key(
        "MODEL.HEADS.TEST_NECK_FEAT",
        "after",
        one_of("after", "before"),
        "What EmbeddingHead gives in evaluation, exported files and ReID: the vector after its neck, as FastReID, or "
        "the pooled one before, as TransReID and SOLIDER are evaluated; NECK_FEAT is for the losses alone",
        ("MODEL.HEADS.NAME", "EmbeddingHead"),
    ),
    Key(
        "TEST.EVAL_UNTRAINED",
        False,
        yes_or_no,
        "Whether train_net.py also evaluates the network before training, and prints both results",
    ),
    Key(
        "TEST.FOLDED",
        True,
        yes_or_no,
        "Whether evaluation runs the folded network: the same features from less arithmetic (docs/how-to/evaluate.md)",
    ),
    Key(
        "TEST.AMP",
        "",
        one_of("", "float32", "bfloat16", "float16"),
        'Precision of evaluation, "" for float32; features are in float32 in any case',
    ),
    Key(
        "TEST.AP",
        "step",
        one_of("step", "trapezoid", "both"),
        "Average precision: step (FastReID's) or trapezoid (that of Market-1501's and MARS's authors); both reports "
        "step's mAP, and mAP trapezoid beside it",
    ),
    # Weights and memory
    Key(
        "MODEL.WEIGHTS_SHA256",
        "",
        sha256,
        'SHA-256 that the file of MODEL.WEIGHTS must have; "" accepts any file. With "sha256:" before it, YAML '
        "does not read it as a number even if it has no letters",
    ),
    Key(
        "MODEL.BACKBONE.PRETRAIN_SHA256",
        "",
        sha256,
        "The same for the file of MODEL.BACKBONE.PRETRAIN_PATH, or the one that FastReID downloads",
    ),
    Key(
        "MODEL.BACKBONE.TIMM.MODEL",
        "",
        text,
        "Name of the model: one of timm's, or one of ours (docs/reference/backbones.md)",
        TIMM,
    ),
    Key(
        "MODEL.BACKBONE.TIMM.CUT",
        (),
        many(whole(0), 0, 2),
        "Where a plain vision transformer is cut for MDPR: how many blocks its trunk has, and trunk and stage 3 "
        "together; () for a half and three quarters of them",
        TIMM,
    ),
    Key(
        "MODEL.BACKBONE.TIMM.CLASS_TOKEN",
        "",
        one_of("", "add", "drop", "only"),
        "What a class token does: it is added to every position of the map, left out, or the map's only position; "
        '"" for add in MDPR and only in others',
        TIMM,
    ),
    Key(
        "MODEL.BACKBONE.TIMM.SEMANTIC_WEIGHT",
        0.2,
        number(-1, 1),
        "Between appearance (0) and semantics (1), what SOLIDER's controller asks for; below 0 it is left out",
        TIMM,
    ),
    Key(
        "MODEL.BACKBONE.TIMM.DROP_PATH",
        -1.0,
        number(-1, 1),
        "Stochastic depth of the last block, to which it rises linearly; -1 for 0.1, and 0 in convolutional families",
        TIMM,
    ),
    Key(
        "MODEL.BACKBONE.TIMM.RESAMPLE",
        "",
        one_of("", "stride", "upsample"),
        "How stage 4 keeps the size of stage 3 for MDPR: by stride 1 and dilation (with LAST_STRIDE 1, where the "
        'family takes it), or by enlarging its map; "" for stride where that works',
        TIMM,
    ),
    Key(
        "MODEL.BACKBONE.TIMM.NORM_MAPS",
        True,
        yes_or_no,
        "Whether a map goes through the layer norm behind the last block, and that of stage 3 through one of its own",
        TIMM,
    ),
    Key(
        "MODEL.BACKBONE.TIMM.CAMERAS",
        0,
        whole(0, 65536),
        "How many cameras a plain vision transformer tells apart, by embeddings that it learns of each (TransReID's "
        "SIE, docs/reference/backbones.md); 0 for none",
        TIMM,
    ),
    Key(
        "MODEL.BACKBONE.TIMM.CAMERA_SCALE",
        -1.0,
        number(-1, 1000),
        "What these embeddings are multiplied by; -1 for 3, as TransReID, and 1 in CLIP's models, as CLIP-ReID",
        TIMM,
    ),
    Key(
        "MODEL.BACKBONE.TIMM.WITHOUT_CAMERA",
        "",
        one_of("", "mean"),
        'What images without a camera get, as of ReID and exported files: the mean of all cameras, or "" for an error',
        TIMM,
    ),
    Key(
        "MODEL.BACKBONE.TIMM.ARGS",
        (),
        arguments,
        'Further arguments of timm.create_model, as pairs: ("patch_size", 16)',
        TIMM,
    ),
    Key(
        "MODEL.COMPILE",
        False,
        yes_or_no,
        "Whether torch.compile compiles MDPR's stages in training, where a compiler works "
        "(docs/how-to/faster-training.md)",
    ),
    Key(
        "MODEL.CHANNELS_LAST",
        False,
        yes_or_no,
        "Whether training stores images, and so every map, channels-last; the same numbers but for rounding "
        "(docs/how-to/faster-training.md)",
    ),
    # MDPR
    Key(
        "MODEL.MDPR.EMBEDDING_DIM",
        512,
        whole(1, 65536),
        "Channels of every embedded map and of each head but the attention and fusion ones",
        MDPR,
    ),
    Key("MODEL.MDPR.PARTS", 2, whole(1, 1024), "Horizontal stripes of the hard content branch", MDPR),
    Key("MODEL.MDPR.BRANCHES", ("hard", "soft"), many(text, least=1), "Which branches exist: hard, soft or both", MDPR),
    Key(
        "MODEL.MDPR.CHECKPOINT_STAGES",
        (),
        subset(3, 4),
        "Stages whose activations are computed again in the backward pass instead of being kept: less memory",
        MDPR,
    ),
    Key(
        "MODEL.MDPR.ATTENTION.MAPS",
        2,
        whole(1, 1024),
        "Foreground attention maps at each of the two granularities",
        MDPR,
    ),
    Key(
        "MODEL.MDPR.ATTENTION.GUIDED",
        True,
        yes_or_no,
        "Whether the maps of stage 4 guide the attention maker of stage 3",
        MDPR,
    ),
    Key(
        "MODEL.MDPR.ATTENTION.DIVERSITY_SCALE",
        1.0,
        number(0),
        "Weight of the attention diversity loss; 0 leaves it out",
        MDPR,
    ),
    Key(
        "MODEL.MDPR.ATTENTION.AREA_SCALE",
        0.001,
        number(0),
        "Weight of the attention area loss (the paper's beta); 0 leaves it out",
        MDPR,
    ),
    Key(
        "MODEL.MDPR.DISTILL.ENABLED",
        True,
        yes_or_no,
        "Whether the global feature of the hard branch and stage 4 of the soft branch teach each other",
        MDPR,
    ),
    Key(
        "MODEL.MDPR.DISTILL.KIND",
        "cosine",
        joined("DISTILLATION_REGISTRY"),
        "How they teach each other: cosine, the paper's, with predictors, or losses of your own (docs/extending.md)",
        MDPR,
    ),
    Key("MODEL.MDPR.DISTILL.SCALE", 1.0, number(0), "Weight of the mutual distillation losses", MDPR),
    Key(
        "MODEL.MDPR.FUSION.ENABLED",
        True,
        yes_or_no,
        "Whether the maps of both branches are fused into a feature of their own",
        MDPR,
    ),
    Key(
        "MODEL.MDPR.FUSION.KIND",
        "full",
        registered("FUSION_REGISTRY"),
        "How: full, the paper's, or the cheaper depthwise and bottleneck (docs/background.md), or one of your own",
        MDPR,
    ),
    Key(
        "MODEL.MDPR.INFERENCE_FEATURES",
        ("hard_global", "hard_parts", "soft4", "soft3", "fusion"),
        many(text, least=1),
        "What the inference vector is made of, in this order",
        MDPR,
    ),
)
"""The plugin's keys, in the order of the page."""
