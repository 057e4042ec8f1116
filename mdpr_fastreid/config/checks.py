"""All messages for wrong settings, before anything is built.

They are messages only: what a setting does follows from what reads it, whether a config was checked or not.
"""

from collections.abc import Collection, Iterator
from functools import partial

from fastreid.config import CfgNode

from mdpr_fastreid.config.adding import added_keys
from mdpr_fastreid.config.clips import clip_problems
from mdpr_fastreid.config.fastreid_keys import FASTREID_KEYS
from mdpr_fastreid.config.keys import Key, has_key, value_of
from mdpr_fastreid.config.names import UnknownNameError, known_names, nearest, unknown_name
from mdpr_fastreid.config.parts import part_problems
from mdpr_fastreid.config.plugin_keys import PLUGIN_KEYS
from mdpr_fastreid.errors import SettingsError

PARTS = ("model", "evaluation", "training")
"""What a config sets."""


def check_config(cfg: CfgNode, parts: Collection[str] = PARTS) -> None:
    """Refuse wrong settings, all of them in one line.

    What is not used is not checked: the parts that are not asked for, what stands beside an ``ENABLED`` that is False,
    what belongs to a loss, an optimizer or a sampler that is not chosen. Names are asked of the registries, so a
    project's own parts are accepted as soon as they are imported; what they accept is theirs to check.

    Args:
        cfg: a config with the plugin's keys.
        parts: of ``PARTS``; only the model is used where nothing is trained or evaluated.

    Raises:
        UnknownNameError: names that no registry knows, with the nearest ones; a ``SettingsError``, too.
        SettingsError: the keys, what is wrong with them, and what they accept.
    """
    _raise_for(_missing_keys(cfg))
    keys = [
        key
        for key in (*FASTREID_KEYS, *added_keys())
        if part_of(key) in parts and has_key(cfg, key.name) and _is_used(cfg, key)
    ]
    _raise_for(_value_problems(cfg, keys))
    _raise_for(_name_problems(cfg, keys), UnknownNameError)
    _raise_for(problem for part, problems in _PROBLEMS if part <= set(parts) for problem in problems(cfg))


def without_unused_project_keys(cfg: CfgNode) -> CfgNode:
    """A copy of a config without the keys that imported projects have registered and this config does not use.

    A process that does not import these projects reads it, too.

    Args:
        cfg: it stays as it is.
    """
    cfg = cfg.clone()
    cfg.defrost()
    plugin = {key.name for key in PLUGIN_KEYS}
    for key in added_keys():
        if key.name in plugin or key.used_with is None or not has_key(cfg, key.name) or _is_used(cfg, key):
            continue
        sections = key.name.split(".")
        del value_of(cfg, ".".join(sections[:-1]))[sections[-1]]
        while len(sections) > 2 and not value_of(cfg, ".".join(sections[:-1])):
            sections.pop()
            del value_of(cfg, ".".join(sections[:-1]))[sections[-1]]
    return cfg


def has_effect(cfg: CfgNode, name: str) -> bool:
    """Whether a key changes anything beside the other settings; a key of which that is not known does.

    Args:
        cfg: a config with the plugin's keys.
        name: as ``MODEL.MDPR.PARTS``, which changes nothing in another architecture.
    """
    return all(_is_used(cfg, key) for key in (*FASTREID_KEYS, *added_keys()) if key.name == name)


def part_of(key: Key) -> str:
    """The first of ``PARTS`` that a key is used in."""
    if key.name == "DATALOADER.NUM_WORKERS":
        return "evaluation"
    if key.name.startswith(("SOLVER.", "DATALOADER.", "KD.", "TEST.PRECISE_BN.")) or key.name == "DATASETS.NAMES":
        return "training"
    return "evaluation" if key.name.startswith(("TEST.", "DATASETS.")) or key.name == "OUTPUT_DIR" else "model"


def _raise_for(problems: Iterator[str], kind: type[SettingsError] = SettingsError) -> None:
    lines = list(problems)
    if lines:
        raise kind("; ".join(lines))


_USED_IN_ANY_CASE = ("TEST.RERANK.", "TEST.AQE.")
"""Sections whose values the evaluator refuses even where they are not ENABLED; the distance jaccard uses K1 and K2."""


def _is_used(cfg: CfgNode, key: Key) -> bool:
    section, _, last = key.name.rpartition(".")
    switch = f"{section}.ENABLED"
    if key.name.startswith(_USED_IN_ANY_CASE):
        return True
    if last != "ENABLED" and has_key(cfg, switch) and value_of(cfg, switch) is False:
        return False
    if key.used_with is None or not has_key(cfg, key.used_with[0]):
        return True
    other, wanted = value_of(cfg, key.used_with[0]), key.used_with[1]
    given = other if isinstance(other, (list, tuple)) else (other,)
    return any(value in given for value in (wanted if isinstance(wanted, tuple) else (wanted,)))


def _missing_keys(cfg: CfgNode) -> Iterator[str]:
    missing = [key.name for key in added_keys() if not has_key(cfg, key.name)]
    if missing:
        yield (
            f"the config has no {missing[0]}, a key of mdpr_fastreid or of a project on it (it was made before that "
            "was imported): call mdpr_fastreid.add_mdpr_config(cfg)"
        )


def _value_problems(cfg: CfgNode, keys: list[Key]) -> Iterator[str]:
    for key in keys:
        value = value_of(cfg, key.name)
        if not key.values.accepts(value):
            yield f"{key.name} must be {key.values.says}, got {_short(value)}{_hint(key, value)}"


def _short(value: object) -> str:
    words = repr(value)
    return words if len(words) <= 80 else f"{words[:60]}... ({len(words)} characters)"


def _hint(key: Key, value: object) -> str:
    similar = nearest(value, key.values.choices)
    return f"; {similar}" if key.values.choices and similar.startswith("did you mean") else ""


def _name_problems(cfg: CfgNode, keys: list[Key]) -> Iterator[str]:
    for key in keys:
        if not key.values.registry:
            continue
        known = known_names(key.values.registry, cfg)
        for name in key.values.names(value_of(cfg, key.name)):
            if name not in known:
                yield f"{key.name}: {unknown_name(name, key.values.registry.removesuffix('_REGISTRY'), known)}"


def _field_problems(cfg: CfgNode) -> Iterator[str]:
    fields = list(cfg.INPUT.FIELDS)
    for name in dict.fromkeys(name for name in fields if fields.count(name) > 1):
        yield f"INPUT.FIELDS {tuple(fields)} names {name} twice"


def _device_problems(cfg: CfgNode) -> Iterator[str]:
    import torch

    try:
        device = torch.device(cfg.MODEL.DEVICE)
    except RuntimeError:
        yield f"MODEL.DEVICE {cfg.MODEL.DEVICE!r} is no device: cpu, cuda, or cuda:0 and so on"
        return
    if device.type == "cuda" and torch.cuda.is_available() and (device.index or 0) >= torch.cuda.device_count():
        yield f"MODEL.DEVICE {cfg.MODEL.DEVICE}: this machine has {torch.cuda.device_count()} GPUs, from cuda:0 on"
    if device.type in ("cpu", "cuda", "meta"):
        return
    try:
        torch.empty(1, device=device)
    except (RuntimeError, NotImplementedError, AssertionError, ImportError):
        yield f"MODEL.DEVICE {cfg.MODEL.DEVICE} is not there: neither this machine's nor this PyTorch's"


def _batch_problems(cfg: CfgNode) -> Iterator[str]:
    from fastreid.utils import comm

    processes, images = comm.get_world_size(), cfg.SOLVER.IMS_PER_BATCH
    if images < processes:
        yield f"SOLVER.IMS_PER_BATCH {images} is less than {processes} processes"
    sampler, instances = cfg.DATALOADER.SAMPLER_TRAIN, cfg.DATALOADER.NUM_INSTANCE
    if sampler in ("NaiveIdentitySampler", "BalancedIdentitySampler") and images // processes % instances:
        yield (
            f"a batch of {images // processes} images a process (SOLVER.IMS_PER_BATCH) is no multiple of "
            f"DATALOADER.NUM_INSTANCE {instances}"
        )
    if sampler == "SetReWeightSampler":
        drawn = sum(cfg.DATALOADER.SET_WEIGHT) * instances
        batch = images // processes * processes
        if drawn == 0 or batch % drawn or batch <= drawn:
            yield (
                f"a batch of {batch} images (SOLVER.IMS_PER_BATCH) is no multiple, twice or more, of the {drawn} that "
                f"DATALOADER.SET_WEIGHT {list(cfg.DATALOADER.SET_WEIGHT)} draws of DATALOADER.NUM_INSTANCE {instances}"
            )


def _whole_batch_problems(cfg: CfgNode) -> Iterator[str]:
    from fastreid.utils import comm

    processes, solver, architecture = comm.get_world_size(), cfg.SOLVER, cfg.MODEL.META_ARCHITECTURE
    images = solver.IMS_PER_BATCH // processes
    parts = max(1, images // 2)
    if parts < solver.ACCUMULATE:
        yield (
            f"SOLVER.ACCUMULATE {solver.ACCUMULATE}: a batch of {images} images a process (SOLVER.IMS_PER_BATCH) gives "
            f"at most {parts} parts of 2 images"
        )
    if solver.ACCUMULATE > 1 and architecture == "Distiller" and cfg.KD.EMA.ENABLED:
        yield (
            f"SOLVER.ACCUMULATE {solver.ACCUMULATE} with KD.EMA.ENABLED: the moving average would move with every "
            "part; set one of them to its default"
        )
    if solver.GATHER and processes > 1 and architecture == "MoCo":
        yield "SOLVER.GATHER True with MODEL.META_ARCHITECTURE MoCo, which gathers its queue itself: set it to False"


def _optimizer_problems(cfg: CfgNode) -> Iterator[str]:
    solver = cfg.SOLVER
    if solver.OPT == "SGD" and solver.NESTEROV and solver.MOMENTUM == 0:
        yield "SOLVER.NESTEROV needs SOLVER.MOMENTUM greater than 0"


def _architecture_problems(cfg: CfgNode) -> Iterator[str]:
    model = cfg.MODEL
    if model.META_ARCHITECTURE == "MoCo" and model.QUEUE_SIZE % cfg.SOLVER.IMS_PER_BATCH:
        yield (
            f"MODEL.QUEUE_SIZE {model.QUEUE_SIZE} must be a multiple of SOLVER.IMS_PER_BATCH {cfg.SOLVER.IMS_PER_BATCH}"
        )
    if model.META_ARCHITECTURE == "Distiller":
        configs, weights = len(cfg.KD.MODEL_CONFIG), len(cfg.KD.MODEL_WEIGHTS)
        if configs != weights:
            yield f"KD.MODEL_CONFIG names {configs} teachers, and KD.MODEL_WEIGHTS {weights} files"
        if not all(cfg.KD.MODEL_WEIGHTS):
            yield "KD.MODEL_WEIGHTS has an empty entry: name the weight file of each teacher"
        if not configs and not cfg.KD.EMA.ENABLED:
            yield "MODEL.META_ARCHITECTURE Distiller needs a teacher: name it in KD.MODEL_CONFIG, or set KD.EMA.ENABLED"


def _twice_problems(cfg: CfgNode, part: str) -> Iterator[str]:
    names = list(cfg.DATASETS[part])
    if twice := next((name for name in names if names.count(name) > 1), None):
        yield f"DATASETS.{part} names {twice} twice: its images would count twice"


def _evaluation_problems(cfg: CfgNode) -> Iterator[str]:
    from fastreid.utils import comm

    processes, images = comm.get_world_size(), cfg.TEST.IMS_PER_BATCH
    if images < processes:
        yield f"TEST.IMS_PER_BATCH {images} is less than {processes} processes"


_PROBLEMS = (
    ({"model"}, _field_problems),
    ({"model"}, _device_problems),
    ({"model"}, part_problems),
    ({"training"}, partial(_twice_problems, part="NAMES")),
    ({"evaluation"}, partial(_twice_problems, part="TESTS")),
    ({"training"}, _batch_problems),
    ({"training"}, _whole_batch_problems),
    ({"training"}, _optimizer_problems),
    ({"model", "training"}, _architecture_problems),
    ({"evaluation"}, _evaluation_problems),
    ({"training"}, partial(clip_problems, part="training")),
    ({"evaluation"}, partial(clip_problems, part="evaluation")),
)
"""Checks of several settings together, and the parts they belong to."""
