"""Any valid settings pass the checks, and come back from a file and from a command line as they were."""

from argparse import Namespace

import yaml
from fastreid.config import get_cfg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mdpr_fastreid.config import check_config, config_from
from mdpr_fastreid.config.keys import value_of
from mdpr_fastreid.config.reference import KEYS
from mdpr_fastreid.errors import SettingsError

switches = st.booleans()
probabilities = st.floats(0, 1)
positive = st.floats(1e-9, 1e9)
counts = st.integers(1, 1000)
sizes = st.one_of(st.lists(st.integers(1, 1024), min_size=1, max_size=2), st.sampled_from([[0], [0, 0]]))
VALID = {
    "SEED": st.integers(-1, 2**40),
    "OUTPUT_DIR": st.sampled_from(["logs", "/tmp/logs", "a b", "ä"]),
    "MODEL.DEVICE": st.sampled_from(["cpu", "cuda", "cuda:1"]),
    "MODEL.FREEZE_LAYERS": st.lists(st.sampled_from(["backbone", "heads", r"b\d"])),
    "MODEL.PIXEL_MEAN": st.lists(st.floats(0, 255), min_size=3, max_size=3),
    "MODEL.PIXEL_STD": st.lists(positive, min_size=3, max_size=3),
    "MODEL.BACKBONE.DEPTH": st.sampled_from(["18x", "34x", "50x", "101x"]),
    "MODEL.BACKBONE.NORM": st.sampled_from(["BN", "syncBN", "GhostBN", "FrozenBN", "GN"]),
    "MODEL.BACKBONE.WITH_IBN": switches,
    "MODEL.HEADS.NUM_CLASSES": st.integers(0, 10**6),
    "MODEL.HEADS.CLS_LAYER": st.sampled_from(["Linear", "CosSoftmax", "ArcSoftmax", "CircleSoftmax"]),
    "MODEL.HEADS.NECK_FEAT": st.sampled_from(["before", "after"]),
    "MODEL.HEADS.MARGIN": st.floats(-1, 1),
    "MODEL.LOSSES.NAME": st.sets(
        st.sampled_from(["CrossEntropyLoss", "TripletLoss", "CircleLoss", "Cosface"]), min_size=1
    ).map(lambda names: tuple(sorted(names))),
    "MODEL.LOSSES.CE.EPSILON": st.floats(-1, 1),
    "MODEL.LOSSES.TRI.MARGIN": st.floats(0, 10),
    "MODEL.MDPR.PARTS": st.integers(1, 12),
    "MODEL.MDPR.CHECKPOINT_STAGES": st.sampled_from([(), (3,), (4,), (3, 4)]),
    "INPUT.SIZE_TRAIN": sizes,
    "INPUT.SIZE_TEST": sizes,
    "INPUT.FLIP.ENABLED": switches,
    "INPUT.FLIP.PROB": probabilities,
    "INPUT.PADDING.MODE": st.sampled_from(["constant", "edge", "reflect", "symmetric"]),
    "INPUT.REA.ENABLED": switches,
    "INPUT.REA.PROB": probabilities,
    "INPUT.CJ.HUE": st.floats(0, 0.5),
    "DATASETS.NAMES": st.lists(st.sampled_from(["Market1501", "DukeMTMC"]), min_size=1, unique=True).map(tuple),
    "DATASETS.TESTS": st.lists(st.sampled_from(["Market1501", "OccludedDuke"]), min_size=1, unique=True).map(tuple),
    "DATALOADER.SAMPLER_TRAIN": st.sampled_from(["TrainingSampler", "ImbalancedDatasetSampler"]),
    "DATALOADER.NUM_WORKERS": st.integers(0, 64),
    "SOLVER.OPT": st.sampled_from(["SGD", "Adam", "AdamW", "Lamb", "RMSprop"]),
    "SOLVER.MAX_EPOCH": st.integers(1, 500),
    "SOLVER.BASE_LR": positive,
    "SOLVER.WEIGHT_DECAY": st.floats(0, 1),
    "SOLVER.STEPS": st.lists(st.integers(0, 500)),
    "SOLVER.WARMUP_ITERS": st.integers(0, 10**6),
    "SOLVER.IMS_PER_BATCH": st.integers(2, 4096),
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": st.one_of(positive, st.just(float("inf"))),
    "TEST.IMS_PER_BATCH": counts,
    "TEST.METRIC": st.sampled_from(["cosine", "euclidean", "jaccard"]),
    "TEST.AMP": st.sampled_from(["", "float32", "bfloat16", "float16"]),
    "TEST.RERANK.K1": counts,
    "TEST.RERANK.LAMBDA": probabilities,
}  # fmt: skip

overrides = st.lists(st.sampled_from(sorted(VALID)), unique=True, max_size=12).flatmap(
    lambda names: st.fixed_dictionaries({name: VALID[name] for name in names})
)
bounded = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def nested(values):
    tree = {}
    for name, value in values.items():
        *sections, last = name.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[last] = list(value) if isinstance(value, tuple) else value
    return tree


@bounded
@given(values=overrides)
def test_valid_settings_pass_and_come_back_from_a_file_and_a_command_line(values, tmp_path):
    (tmp_path / "mine.yml").write_text(yaml.safe_dump(nested(values), allow_unicode=True), encoding="utf-8")
    words = [word for name, value in values.items() for word in (name, repr(value).replace("inf", "1e999"))]
    from_words = config_from(Namespace(config_file="", opts=words))
    from_file = config_from(Namespace(config_file=str(tmp_path / "mine.yml"), opts=[]))
    from_dump = get_cfg()
    (tmp_path / "dumped.yml").write_text(from_words.dump())
    from_dump.merge_from_file(str(tmp_path / "dumped.yml"))
    assert from_words == from_file == from_dump
    assert all(value_of(from_words, name) == value for name, value in values.items())


anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.tuples(inner, inner)),
    max_leaves=5,
)


@bounded
@given(name=st.sampled_from([key.name for key in KEYS]), value=anything)
def test_any_value_of_any_key_passes_or_is_one_line(name, value):
    cfg = get_cfg()
    section, _, last = name.rpartition(".")
    node = value_of(cfg, section) if section else cfg
    node[last] = value
    try:
        check_config(cfg)
    except SettingsError as error:
        assert "\n" not in str(error)  # noqa: PT017
        assert str(error)  # noqa: PT017
