"""The keys under ``MODEL.MDKT``."""

from itertools import chain, permutations

from mdpr_fastreid.config import Key, register_keys
from mdpr_fastreid.config.values import Values, many, number, one_of, path, subset, text, whole, yes_or_no

VIDEO_REID, TRANSFER = "VideoReID", "MDKT"
FROZEN, INDEPENDENT, MUTUAL = "frozen", "independent", "mutual"
LAYER4, HEAD = "layer4", "head"

_IN_TRANSFER = ("MODEL.META_ARCHITECTURE", TRANSFER)
_IN_BOTH_STAGES = ("MODEL.META_ARCHITECTURE", (VIDEO_REID, TRANSFER))


def _between_branches(name: str) -> tuple[str, tuple[str, ...]]:
    """Where MDPR's branches teach each other by the loss of that name, alone or among others."""
    kinds = ("cosine", "mkd", "tcl")
    orders = chain.from_iterable(permutations(kinds, count) for count in range(1, len(kinds) + 1))
    return "MODEL.MDPR.DISTILL.KIND", tuple("+".join(order) for order in orders if name in order)


def _key(name: str, default: object, values: Values, meaning: str, used_with: tuple = _IN_TRANSFER) -> Key:
    return Key(f"MODEL.MDKT.{name}", default, values, meaning, used_with)


KEYS = (
    # Both stages
    _key(
        "LAST_BLOCK_RELU",
        False,
        yes_or_no,
        "Whether the last block of stage 4 of the backbone has its activations",
        _IN_BOTH_STAGES,
    ),
    _key(
        "PAIRINGS",
        ("I2V", "V2V"),
        many(one_of("I2V", "V2V", "I2I"), least=1),
        "What is evaluated, queries 2 gallery, image or video; the first chooses the best checkpoint",
        _IN_BOTH_STAGES,
    ),
    _key("CE.SCALE", 1.0, number(0), "Weight of the cross entropy of each network; 0 leaves it out", _IN_BOTH_STAGES),
    _key("TRI.SCALE", 1.0, number(0), "Weight of its soft-margin triplet loss; 0 leaves it out", _IN_BOTH_STAGES),
    # The teacher
    _key(
        "MODE",
        MUTUAL,
        one_of(FROZEN, INDEPENDENT, MUTUAL),
        "Whether the teacher stays as it is, trains by itself, or trains and learns from the student, too",
    ),
    _key(
        "TEACHER_WEIGHTS",
        "",
        path,
        "Checkpoint of stage 1, from which both networks start; {seed} in it stands for SEED",
    ),
    _key(
        "TEACHER_CONFIG",
        "",
        text,
        "Config of stage 1: a path, or a file of the project's configs/. train_net.py trains by it where there are no "
        'TEACHER_WEIGHTS, and the teacher has its backbone; "" for the backbone of the student',
    ),
    _key(
        "TEACHER_BN",
        "batch",
        one_of("batch", "running"),
        "Statistics that the batch norms of a frozen teacher use; the running ones stay as they are",
    ),
    _key(
        "TEACHER_LR_FACTOR",
        1.0,
        number(above=0),
        "Learning rate of a teacher that trains, as a multiple of the student's",
    ),
    # The student
    _key("STUDENT", VIDEO_REID, one_of(VIDEO_REID, "MDPR"), "Architecture of the student"),
    _key("STUDENT_FRAMES", 2, whole(1), "Frames of the teacher's that the student sees, drawn anew for each clip"),
    _key(
        "RESET",
        (LAYER4, HEAD),
        subset(LAYER4, HEAD),
        "What the student does not take over from stage 1: stage 4 of the backbone, the neck and the classifier",
    ),
    # The losses between them
    _key("KD.SCALE", 0.1, number(0), "Weight of the distillation of logits; 0 leaves it out"),
    _key("KD.TEMPERATURE", 10.0, number(above=0), "Its temperature"),
    _key("PD.SCALE", 0.0001, number(0), "Weight of the pairwise distance loss; 0 leaves it out"),
    _key("PD.SQUARED", True, yes_or_no, "Whether it compares squared distances"),
    _key("PD.NORMALIZE", False, yes_or_no, "Whether it divides each network's distances by their mean over the batch"),
    _key("PD.MUTUAL", False, yes_or_no, "Whether it moves the teacher, too"),
    _key("TCL.SCALE", 1.0, number(0), "Weight of the triplet contrast loss; 0 leaves it out"),
    _key("TCL.TEMPERATURE", 1.0, number(above=0), "Its temperature"),
    _key(
        "TCL.MINING",
        "teacher",
        one_of("teacher", "student", "source"),
        "Whose distances find its triplets; source: in each direction those of the network that teaches",
    ),
    _key("TCL.REDUCTION", "mean", one_of("mean", "sum"), "How it is reduced over the anchors"),
    _key("TCL.NORMALIZE", False, yes_or_no, "Whether it divides each network's distances by their mean over the batch"),
    # The same between MDPR's branches, without a teacher
    _key("BRANCHES.KD.SCALE", 0.1, number(0), "Weight of mkd between MDPR's branches", _between_branches("mkd")),
    _key("BRANCHES.KD.TEMPERATURE", 16.0, number(above=0), "Its temperature", _between_branches("mkd")),
    _key("BRANCHES.TCL.SCALE", 1.0, number(0), "Weight of tcl between MDPR's branches", _between_branches("tcl")),
    _key("BRANCHES.TCL.TEMPERATURE", 1.0, number(above=0), "Its temperature", _between_branches("tcl")),
    _key(
        "BRANCHES.TCL.NORMALIZE",
        False,
        yes_or_no,
        "Whether it divides each branch's distances by their mean over the batch",
        _between_branches("tcl"),
    ),
)

register_keys(*KEYS)
