"""The keys under ``MODEL.DROP``."""

from mdpr_fastreid.config import Key, register_keys
from mdpr_fastreid.config.values import many, number, one_of, whole, yes_or_no

_USED = ("MODEL.META_ARCHITECTURE", "DROP")


def _key(name: str, default: object, values: object, meaning: str) -> Key:
    return Key(f"MODEL.DROP.{name}", default, values, meaning, _USED)


KEYS = (
    _key(
        "REID_MAP",
        "last",
        one_of("last", "all", "full"),
        "Map that is pooled: stage 4's; or all four at the size of stage 3, or of stage 1",
    ),
    _key(
        "EMBEDDING_DIM",
        512,
        whole(1, 65536),
        "Length of the embedding of the whole picture, of the foreground and of each part",
    ),
    _key(
        "POOLING",
        "avg+max",
        one_of("avg+max", "avg", "max", "bpbreid"),
        "How a map is pooled where a part is: weighted average, maximum, their sum, or as BPBreID",
    ),
    _key("DETACH_PARTS", False, yes_or_no, "Whether the identity and triplet losses leave the parsing branch alone"),
    _key(
        "DPU.ENABLED",
        True,
        yes_or_no,
        "Whether parsing has an upsampled fusion of all stages of its own; else it reads the pooled map",
    ),
    _key("DPU.CHANNELS", 128, whole(1, 65536), "Channels of that fusion"),
    _key("PPE.ENABLED", True, yes_or_no, "Whether parsing is given the position along the height; needs DPU"),
    _key("PARSING.SCALE", 1.0, number(0), "Weight of the parsing loss"),
    _key("PARSING.EPSILON", 0.1, number(0, 1), "Label smoothing of the parsing loss"),
    _key(
        "VISIBILITY.BINARY",
        True,
        yes_or_no,
        "Whether a part is visible or not, where that is predicted; else as far as its largest probability",
    ),
    _key(
        "VISIBILITY.MIN_CELLS",
        1,
        whole(1),
        "Cells that a part must be the likeliest class of to be visible, where that is binary",
    ),
    _key("PCT.SCALE", 1.0, number(0), "Weight of the part-aware compactness triplet loss; 0 leaves it out"),
    _key("PCT.MARGIN", 0.3, number(0), "Its margin; 0 for the soft margin"),
    _key(
        "PCT.MINE",
        "average",
        one_of("average", "part"),
        "Whether hardest pairs are those of the mean over common parts, or of each part",
    ),
    _key(
        "PCT.VISIBILITY",
        "target",
        one_of("target", "predicted", "none"),
        "Which parts are compared: those in the mask, those predicted, or all",
    ),
    _key("PCT.BANK_SIZE", 1024, whole(0), "Images whose part embeddings are remembered, to compare with; 0 for none"),
    _key(
        "PCT.BANK_FROM_ITER",
        -1,
        whole(-1),
        "Iteration from which on they are compared with; -1 for the end of the warm-up",
    ),
    _key("PCT.BANK_FOR", "negatives", one_of("negatives", "both"), "Whether they are negatives only, or positives too"),
    _key(
        "FOREGROUND_TRIPLET",
        0.0,
        number(0),
        "Weight of a triplet loss on the foreground embedding, with the settings of MODEL.LOSSES.TRI",
    ),
    _key(
        "TEST_EMBEDDINGS",
        ("foreground", "parts"),
        many(one_of("whole", "foreground", "parts"), least=1),
        "Embeddings that images are compared by",
    ),
)

register_keys(*KEYS)
