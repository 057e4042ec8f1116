"""FastReID's own keys: what each accepts and means. Their defaults are in ``fastreid.config.get_cfg()``."""

from mdpr_fastreid.config.keys import Key
from mdpr_fastreid.config.values import (
    Values,
    crop_size,
    folder,
    interval,
    many,
    number,
    one_of,
    path,
    registered,
    regular_expression,
    size,
    text,
    whole,
    yes_or_no,
)


def _key(name: str, values: Values, meaning: str, used_with: tuple[str, str | tuple[str, ...]] | None = None) -> Key:
    return Key(name, None, values, meaning, used_with)


_probability = number(0, 1)
_weight = number(0)
_channels = whole(0, 65536)
_CE = ("MODEL.LOSSES.NAME", "CrossEntropyLoss")
_TRI = ("MODEL.LOSSES.NAME", "TripletLoss")
_CIRCLE = ("MODEL.LOSSES.NAME", "CircleLoss")
_COSFACE = ("MODEL.LOSSES.NAME", "Cosface")
_FOCAL = ("MODEL.LOSSES.NAME", "FocalLoss")
_VIT = ("MODEL.BACKBONE.NAME", "build_vit_backbone")
_ANY_VIT = ("MODEL.BACKBONE.NAME", ("build_vit_backbone", "build_timm_backbone"))
_STEPS = ("SOLVER.SCHED", "MultiStepLR")
_COSINE = ("SOLVER.SCHED", "CosineAnnealingLR")
_SGD = ("SOLVER.OPT", "SGD")
_DISTILLER = ("MODEL.META_ARCHITECTURE", "Distiller")

FASTREID_KEYS = (
    _key("OUTPUT_DIR", folder, "Folder of the log, the checkpoints and the metrics"),
    _key("CUDNN_BENCHMARK", yes_or_no, "Whether cuDNN tries its algorithms for each image size and keeps the fastest"),
    # The model
    _key("MODEL.DEVICE", text, "Where the model runs: cpu, cuda, cuda:1; the CPU takes over where there is no GPU"),
    _key("MODEL.META_ARCHITECTURE", registered("META_ARCH_REGISTRY"), "The whole model"),
    _key(
        "MODEL.FREEZE_LAYERS",
        many(regular_expression),
        "Parameters whose names begin so are not trained in the first SOLVER.FREEZE_ITERS iterations",
    ),
    _key("MODEL.QUEUE_SIZE", whole(1, 2**24), "Features that MoCo remembers", ("MODEL.META_ARCHITECTURE", "MoCo")),
    _key("MODEL.WEIGHTS", path, "File that training starts from, or that is evaluated"),
    _key("MODEL.PIXEL_MEAN", many(number(), 3), "Mean of red, green and blue in 0 to 255, subtracted from the images"),
    _key("MODEL.PIXEL_STD", many(number(above=0), 3), "Standard deviation of red, green and blue, likewise"),
    # The backbone
    _key("MODEL.BACKBONE.NAME", registered("BACKBONE_REGISTRY"), "The function that builds the backbone"),
    _key("MODEL.BACKBONE.DEPTH", text, "Its size: see [the backbones](#backbones)"),
    _key("MODEL.BACKBONE.LAST_STRIDE", whole(1), "Stride of its last stage; 1 doubles the last map's height and width"),
    _key("MODEL.BACKBONE.FEAT_DIM", whole(1, 65536), "Channels of its last map; MDPR finds them itself"),
    _key("MODEL.BACKBONE.NORM", text, "Its norm layer: BN, syncBN, GhostBN, FrozenBN or GN"),
    _key("MODEL.BACKBONE.WITH_IBN", yes_or_no, "Whether it has instance norms beside batch norms (IBN-Net)"),
    _key("MODEL.BACKBONE.WITH_SE", yes_or_no, "Whether a ResNet has squeeze-and-excitation blocks"),
    _key("MODEL.BACKBONE.WITH_NL", yes_or_no, "Whether a ResNet or ResNeXt has non-local blocks"),
    _key("MODEL.BACKBONE.SIE_COE", number(), "Weight of a vision transformer's camera embedding", _VIT),
    _key("MODEL.BACKBONE.STRIDE_SIZE", many(whole(1), 2), "Step between its patches: [height, width]", _ANY_VIT),
    _key("MODEL.BACKBONE.DROP_PATH_RATIO", _probability, "Share of its paths that are dropped", _VIT),
    _key("MODEL.BACKBONE.DROP_RATIO", _probability, "Share of a vision transformer's activations that are dropped"),
    _key("MODEL.BACKBONE.ATT_DROP_RATE", _probability, "Share of its attention weights that are dropped", _VIT),
    _key("MODEL.BACKBONE.PRETRAIN", yes_or_no, "Whether the backbone starts from weights trained on ImageNet"),
    _key("MODEL.BACKBONE.PRETRAIN_PATH", path, 'File of these weights; "" downloads them'),
    # The head
    _key("MODEL.HEADS.NAME", registered("REID_HEADS_REGISTRY"), "The head: MDPRHead for MDPR, else EmbeddingHead"),
    _key("MODEL.HEADS.NORM", text, "Its norm layer: BN, syncBN, GhostBN, FrozenBN or GN"),
    _key("MODEL.HEADS.NUM_CLASSES", whole(0, 2**24), "Identities that it classifies; 0 for those of the training set"),
    _key("MODEL.HEADS.EMBEDDING_DIM", _channels, "Channels that a 1x1 convolution reduces the feature to; 0: none"),
    _key("MODEL.HEADS.WITH_BNNECK", yes_or_no, "Whether a batch norm lies between feature and classifier"),
    _key("MODEL.HEADS.NECK_FEAT", text, "Which feature the metric losses get: that before or after the neck"),
    _key("MODEL.HEADS.POOL_LAYER", text, "From the map to a vector: a class of fastreid.layers.pooling"),
    _key("MODEL.HEADS.CLS_LAYER", text, "The classifier: Linear, CosSoftmax, ArcSoftmax or CircleSoftmax"),
    _key("MODEL.HEADS.MARGIN", number(), "Margin of a classifier that has one"),
    _key("MODEL.HEADS.SCALE", number(above=0), "Factor on the classifier's output"),
    # The losses
    _key("MODEL.LOSSES.NAME", many(text), "The losses: of LOSS_REGISTRY for MDPR, else FastReID's"),
    _key("MODEL.LOSSES.CE.EPSILON", number(-1, 1), "Label smoothing; 0 for none, -1 for the adaptive kind", _CE),
    _key("MODEL.LOSSES.CE.ALPHA", number(0), "Strength of adaptive label smoothing", _CE),
    _key("MODEL.LOSSES.CE.SCALE", _weight, "Weight of the cross entropy", _CE),
    _key("MODEL.LOSSES.FL.ALPHA", number(0), "Weight of the positive class in the focal loss", _FOCAL),
    _key("MODEL.LOSSES.FL.GAMMA", number(0), "Focusing exponent of the focal loss", _FOCAL),
    _key("MODEL.LOSSES.FL.SCALE", _weight, "Weight of the focal loss", _FOCAL),
    _key("MODEL.LOSSES.TRI.MARGIN", number(0), "Margin of the triplet loss; 0 for the soft margin", _TRI),
    _key("MODEL.LOSSES.TRI.NORM_FEAT", yes_or_no, "Whether its distance is cosine instead of euclidean", _TRI),
    _key("MODEL.LOSSES.TRI.HARD_MINING", yes_or_no, "Whether it takes the hardest pairs, else weighted ones", _TRI),
    _key("MODEL.LOSSES.TRI.SCALE", _weight, "Weight of the triplet loss", _TRI),
    _key("MODEL.LOSSES.CIRCLE.MARGIN", number(0), "Margin of the circle loss", _CIRCLE),
    _key("MODEL.LOSSES.CIRCLE.GAMMA", number(above=0), "Factor on the circle loss's similarities", _CIRCLE),
    _key("MODEL.LOSSES.CIRCLE.SCALE", _weight, "Weight of the circle loss", _CIRCLE),
    _key("MODEL.LOSSES.COSFACE.MARGIN", number(0), "Margin of the pairwise CosFace loss", _COSFACE),
    _key("MODEL.LOSSES.COSFACE.GAMMA", number(above=0), "Factor on the CosFace loss's similarities", _COSFACE),
    _key("MODEL.LOSSES.COSFACE.SCALE", _weight, "Weight of the pairwise CosFace loss", _COSFACE),
    # Distillation
    _key("KD.MODEL_CONFIG", many(text), "Config files of the teachers", _DISTILLER),
    _key("KD.MODEL_WEIGHTS", many(text), "Weight file of each teacher", _DISTILLER),
    _key("KD.EMA.ENABLED", yes_or_no, "Whether a moving average of the student is a teacher", _DISTILLER),
    _key("KD.EMA.MOMENTUM", _probability, "Share of the average that stays in each step", _DISTILLER),
    # The images
    _key("INPUT.SIZE_TRAIN", size, "Size that training images are resized to"),
    _key("INPUT.SIZE_TEST", size, "Size that query and gallery images are resized to"),
    _key("INPUT.CROP.ENABLED", yes_or_no, "Whether a random part of the image is cut out (its center in evaluation)"),
    _key("INPUT.CROP.SIZE", crop_size, "Size of what is cut out: [height, width], or one number for a square"),
    _key("INPUT.CROP.SCALE", interval, "Share of the image's area that is cut out, from and to"),
    _key("INPUT.CROP.RATIO", interval, "Width by height of what is cut out, from and to"),
    _key("INPUT.FLIP.ENABLED", yes_or_no, "Whether training images are mirrored at random"),
    _key("INPUT.FLIP.PROB", _probability, "Share of the images that are mirrored"),
    _key("INPUT.PADDING.ENABLED", yes_or_no, "Whether training images are padded, then cut at random"),
    _key("INPUT.PADDING.MODE", one_of("constant", "edge", "reflect", "symmetric"), "Black, or pixels of the image"),
    _key("INPUT.PADDING.SIZE", whole(0), "Pixels that are padded on each side"),
    _key("INPUT.CJ.ENABLED", yes_or_no, "Whether the colors of training images are changed at random"),
    _key("INPUT.CJ.PROB", _probability, "Share of the images whose colors are changed"),
    _key("INPUT.CJ.BRIGHTNESS", number(0), "Largest change of the brightness, as a share of it"),
    _key("INPUT.CJ.CONTRAST", number(0), "Largest change of the contrast, as a share of it"),
    _key("INPUT.CJ.SATURATION", number(0), "Largest change of the saturation, as a share of it"),
    _key("INPUT.CJ.HUE", number(0, 0.5), "Largest change of the hue, as a share of the color circle"),
    _key("INPUT.AFFINE.ENABLED", yes_or_no, "Whether training images are turned, scaled and sheared a little"),
    _key("INPUT.AUTOAUG.ENABLED", yes_or_no, "Whether training images get AutoAugment's ImageNet policy"),
    _key("INPUT.AUTOAUG.PROB", _probability, "Share of the images that get it"),
    _key("INPUT.AUGMIX.ENABLED", yes_or_no, "Whether training images get AugMix"),
    _key("INPUT.AUGMIX.PROB", _probability, "Share of the images that get it"),
    _key("INPUT.REA.ENABLED", yes_or_no, "Whether a random rectangle of training images is erased"),
    _key("INPUT.REA.PROB", _probability, "Share of the images in which one is erased"),
    _key("INPUT.REA.VALUE", many(number(), 1, 3), "Color of the rectangle: red, green, blue, 0 to 255; or one value"),
    _key("INPUT.RPT.ENABLED", yes_or_no, "Whether a patch of another image is pasted into training images"),
    _key("INPUT.RPT.PROB", _probability, "Share of the images that get a patch"),
    # The data
    _key("DATASETS.NAMES", many(registered("DATASET_REGISTRY"), least=1), "The sets that are trained on, together"),
    _key("DATASETS.TESTS", many(registered("DATASET_REGISTRY"), least=1), "The sets that are evaluated"),
    _key("DATASETS.COMBINEALL", yes_or_no, "Whether query and gallery images are trained on, too"),
    _key("DATALOADER.SAMPLER_TRAIN", registered("SAMPLER_REGISTRY"), "In which order training images are drawn"),
    _key("DATALOADER.NUM_INSTANCE", whole(1), "Images of each identity in a batch, for the samplers by identity"),
    _key("DATALOADER.NUM_WORKERS", whole(0, 1024), "Processes that read images; 0: that which trains"),
    _key(
        "DATALOADER.SET_WEIGHT",
        many(whole(0)),
        "Identities of each set in a batch, relative to the others",
        ("DATALOADER.SAMPLER_TRAIN", "SetReWeightSampler"),
    ),
    # Training
    _key("SOLVER.AMP.ENABLED", yes_or_no, "Whether training is in mixed precision"),
    _key("SOLVER.OPT", registered("torch.optim"), "The optimizer, of torch.optim or of fastreid.solver.optim"),
    _key("SOLVER.MAX_EPOCH", whole(1), "Epochs of training"),
    _key("SOLVER.BASE_LR", number(above=0), "Learning rate after the warm-up"),
    _key("SOLVER.HEADS_LR_FACTOR", number(0), "Factor on the learning rate for the head"),
    _key("SOLVER.MOMENTUM", number(0), "Momentum of SGD", _SGD),
    _key("SOLVER.NESTEROV", yes_or_no, "Whether the momentum is Nesterov's", _SGD),
    _key("SOLVER.WEIGHT_DECAY", number(0), "Weight decay"),
    _key("SOLVER.WEIGHT_DECAY_NORM", number(0), "Weight decay of the norm layers"),
    _key("SOLVER.BIAS_LR_FACTOR", number(0), "Factor on the learning rate for biases"),
    _key("SOLVER.WEIGHT_DECAY_BIAS", number(0), "Weight decay of biases"),
    _key("SOLVER.SCHED", one_of("MultiStepLR", "CosineAnnealingLR"), "How the learning rate falls"),
    _key("SOLVER.DELAY_EPOCHS", whole(0), "Epochs before the learning rate begins to fall"),
    _key("SOLVER.GAMMA", number(above=0), "Factor on the learning rate at each step", _STEPS),
    _key(
        "SOLVER.STEPS",
        many(whole(0)),
        "Epochs after which it is multiplied by SOLVER.GAMMA, counted from the end of the warm-up",
        _STEPS,
    ),
    _key("SOLVER.ETA_MIN_LR", number(0), "Learning rate in the end", _COSINE),
    _key("SOLVER.WARMUP_FACTOR", number(0), "Share of the learning rate that training begins with"),
    _key("SOLVER.WARMUP_ITERS", whole(0), "Iterations of the warm-up; 0 for none"),
    _key("SOLVER.WARMUP_METHOD", one_of("constant", "linear", "exp"), "How the learning rate grows in the warm-up"),
    _key("SOLVER.FREEZE_ITERS", whole(0), "Iterations in which MODEL.FREEZE_LAYERS are not trained"),
    _key("SOLVER.CHECKPOINT_PERIOD", whole(0), "Epochs between two checkpoints; 0 saves the last epoch's only"),
    _key("SOLVER.IMS_PER_BATCH", whole(2), "Images of a batch, over all processes"),
    _key("SOLVER.CLIP_GRADIENTS.ENABLED", yes_or_no, "Whether gradients are clipped"),
    _key("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", one_of("norm", "value"), "Norm of each gradient, or its elements"),
    _key("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", number(above=0), "Largest norm or element"),
    _key("SOLVER.CLIP_GRADIENTS.NORM_TYPE", number(above=0, infinite=True), "The p of the p-norm; 1e999 for infinity"),
    # Evaluation
    _key("TEST.EVAL_PERIOD", whole(-1), "Epochs between two evaluations; 0 or -1 evaluates nothing"),
    _key("TEST.IMS_PER_BATCH", whole(1), "Images of a batch in evaluation, over all processes"),
    _key("TEST.METRIC", registered("DISTANCE_REGISTRY"), "The distance between features"),
    _key("TEST.ROC.ENABLED", yes_or_no, "Whether true accept rates at fixed false accept rates are computed, too"),
    _key("TEST.FLIP.ENABLED", yes_or_no, "Whether features are those of the image and its mirror image together"),
    _key("TEST.AQE.ENABLED", yes_or_no, "Whether each feature is averaged with its neighbors' (query expansion)"),
    _key("TEST.AQE.ALPHA", number(), "Exponent of the neighbors' weights"),
    _key("TEST.AQE.QE_TIME", whole(0), "How many times features are averaged"),
    _key("TEST.AQE.QE_K", whole(1), "Neighbors that each feature is averaged with"),
    _key("TEST.RERANK.ENABLED", yes_or_no, "Whether results are re-ranked (docs/how-to/evaluate.md)"),
    _key("TEST.RERANK.K1", whole(1), "Neighbors that are compared"),
    _key("TEST.RERANK.K2", whole(1), "Neighbors that a set of neighbors is averaged over"),
    _key("TEST.RERANK.LAMBDA", _probability, "Share of the original distance"),
    _key("TEST.PRECISE_BN.ENABLED", yes_or_no, "Whether batch norms get new statistics before evaluation"),
    _key("TEST.PRECISE_BN.DATASET", registered("DATASET_REGISTRY"), "Set whose training images they are computed from"),
    _key("TEST.PRECISE_BN.NUM_ITER", whole(1), "Batches that they are computed from"),
)  # fmt: skip
"""FastReID's keys, in the order of the page."""
