"""The runs of a comparison, what they share and where they lie."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from fastreid.config import CfgNode

from mdpr_fastreid.bench.cost import multiply_adds, parameters
from mdpr_fastreid.compare import ablations
from mdpr_fastreid.compare.methods import (
    BUILT_IN,
    CannotCarryError,
    Method,
    empty_model,
    find_methods,
    input_size,
    method_config,
    notes,
    settings_ablated,
)
from mdpr_fastreid.compare.shared import DEFAULT_CONFIG, Data, iterations, read_config, shared_config
from mdpr_fastreid.errors import UsageError


@dataclass(frozen=True)
class Run:
    """One method with one seed."""

    method: Method
    seed: int
    cfg: CfgNode = field(repr=False, compare=False)
    source: str = ""
    """Name of the method whose weights of this seed are evaluated, if it is not trained itself."""

    @property
    def trained(self) -> bool:
        """Whether it is trained; else it evaluates the weights of :attr:`source`."""
        return not self.source

    @property
    def name(self) -> str:
        """As it is called in messages, and its folder under ``runs/``."""
        return f"{self.method.name}/seed{self.seed}"


class Cost(NamedTuple):
    """What a method costs whatever it runs on."""

    parameters: int
    multiply_adds: int
    """Of one image of the test size, at inference."""


@dataclass(frozen=True)
class Plan:
    """Everything that will run, in order, under one roof."""

    output: Path
    shared: CfgNode = field(repr=False)
    data: Data
    methods: tuple[Method, ...]
    runs: tuple[Run, ...] = field(repr=False)
    left_out: Mapping[str, str]
    """Why a method is not run, by its title."""
    notes: Mapping[str, Sequence[str]]
    """What a reader should know about a method, by its name."""
    costs: Mapping[str, Cost] = field(repr=False)
    """By the method's name."""
    command: str
    ablation: bool = False
    imports: tuple[str, ...] = ()
    """Modules that every run imports first: they register what the configs name."""

    def folder(self, run: Run) -> Path:
        """Where a run lies."""
        return self.output / "runs" / run.method.name / f"seed{run.seed}"

    @property
    def seeds(self) -> list[int]:
        """In the order they run."""
        return list(dict.fromkeys(run.seed for run in self.runs))


@dataclass(frozen=True)
class Request:
    """What the user asks for; the arguments of ``mdpr compare``."""

    methods: tuple[str, ...] = tuple(BUILT_IN)
    ablations: tuple[str, ...] = ()
    """Groups of :mod:`mdpr_fastreid.compare.ablations`; if there are any, ``methods`` names the one MDPR."""
    shared: str = DEFAULT_CONFIG
    data: str | None = None
    backbone: str | None = None
    size: tuple[int, int] | None = None
    epochs: int | None = None
    batch: int | None = None
    seeds: tuple[int, ...] = (0,)
    overrides: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    """Modules that register what the configs name, imported by whoever makes the request."""
    output: Path = Path("logs/compare")
    command: str = "mdpr compare"


def make_plan(request: Request) -> Plan:
    """Resolve every run's config, without training anything.

    Raises:
        UsageError: something asked for does not exist, or no method is left.
    """
    shared, data = shared_config(
        request.shared,
        data=request.data,
        size=request.size,
        epochs=request.epochs,
        batch=request.batch,
        overrides=request.overrides,
    )
    methods = _ablated(request) if request.ablations else find_methods(request.methods)
    kept, runs, left_out, notes_of, costs = [], [], {}, {}, {}
    for method in methods:
        try:
            cfg = method_config(method, shared, data.identities, request.backbone, request.overrides)
            model = empty_model(cfg)
        except CannotCarryError as error:
            left_out[method.title] = str(error)
            continue
        kept.append(method)
        notes_of[method.name] = notes(cfg, model)
        if request.ablations and method.name == ablations.FULL.name:
            notes_of[method.name].append(settings_ablated(cfg))
        costs[method.name] = Cost(parameters(model), multiply_adds(model, input_size(cfg)))
        source = "" if method.trained else ablations.FULL.name
        for seed in request.seeds:
            own = cfg.clone()
            own.SEED = seed
            runs.append(Run(method, seed, own, source))
    if not runs:
        raise UsageError("no method is left: " + "; ".join(f"{name}: {why}" for name, why in left_out.items()))
    plan = Plan(
        output=request.output,
        shared=shared,
        data=data,
        methods=tuple(kept),
        # Seed by seed, so that an interrupted comparison has every method
        runs=tuple(sorted(runs, key=lambda run: (request.seeds.index(run.seed), not run.trained))),
        left_out=left_out,
        notes={name: lines for name, lines in notes_of.items() if lines},
        costs=costs,
        command=request.command,
        ablation=bool(request.ablations),
        imports=request.imports,
    )
    for run in plan.runs:
        run.cfg.OUTPUT_DIR = str(plan.folder(run))
        if not run.trained:
            run.cfg.MODEL.WEIGHTS = str(
                plan.folder(run).parents[1] / run.source / f"seed{run.seed}" / "model_final.pth"
            )
    return plan


def describe(plan: Plan) -> str:
    """The plan as text: conditions, methods, runs."""
    lines = ["shared by all runs"]
    lines += [f"  {name:<9} {value}" for name, value in describe_shared(plan).items()]
    lines += ["", "methods"]
    width = max(len(method.name) for method in plan.methods)
    for method in plan.methods:
        cost = plan.costs[method.name]
        size = f"{cost.parameters / 1e6:.1f} M parameters, {cost.multiply_adds / 1e9:.2f} G multiply-adds an image"
        lines.append(f"  {method.name:<{width}}  {method.title}: {describe_method(method)}; {size}")
        lines += [f"  {'':<{width}}  ({note})" for note in plan.notes.get(method.name, ())]
    lines += [f"  left out: {title}: {why}" for title, why in plan.left_out.items()]
    trained = sum(run.trained for run in plan.runs)
    evaluated = f", {len(plan.runs) - trained} evaluations of trained weights" * (len(plan.runs) > trained)
    lines += ["", f"{trained} run{'s' * (trained > 1)}{evaluated}, under {plan.output / 'runs'}"]
    return "\n".join(lines)


def describe_method(method: Method) -> str:
    """What a method is made of."""
    what = f"model and losses of {method.config}" if method.trained else f"{ablations.FULL.title} as trained, evaluated"
    return f"{what} with {_pairs(method.overrides)}" if method.overrides else what


def describe_shared(plan: Plan) -> dict[str, str]:
    """The conditions in words, by what they are about."""
    cfg, data = plan.shared, plan.data
    solver, loader, rerank = cfg.SOLVER, cfg.DATALOADER, cfg.TEST.RERANK
    size = "x".join(map(str, cfg.INPUT.SIZE_TRAIN))
    schedule = f"{solver.SCHED}" + (f" after epoch {solver.DELAY_EPOCHS}" if solver.DELAY_EPOCHS else "")
    unmatched = f" ({data.unmatched} without a match, which do not count)" if data.unmatched else ""
    start = "pretrained weights" if cfg.MODEL.BACKBONE.PRETRAIN else "random weights"
    flipped = ", features averaged with those of the mirror image" if cfg.TEST.FLIP.ENABLED else ""
    return {
        "data": f"{data.name}: {data.train_images} training images of {data.identities} identities, "
        f"{data.queries} queries{unmatched}, {data.gallery} gallery images, hash {data.digest}",
        "input": f"{size} (height x width), trained with {', '.join(_augmentation(cfg)) or 'no augmentation'}",
        "sampler": f"{loader.SAMPLER_TRAIN}, batches of {solver.IMS_PER_BATCH}, {loader.NUM_INSTANCE} of an identity",
        "budget": f"{solver.MAX_EPOCH} epochs, {iterations(cfg, data)} iterations, from {start}",
        "schedule": f"{solver.OPT} {solver.BASE_LR:g}, weight decay {solver.WEIGHT_DECAY:g}, {schedule} to "
        f"{solver.ETA_MIN_LR:g}, warm-up {solver.WARMUP_ITERS} iterations from factor {solver.WARMUP_FACTOR:g}",
        "seeds": ", ".join(map(str, plan.seeds)),
        "test": f"weights of the last epoch, {cfg.TEST.METRIC} distance{flipped}; re-ranked with k1 {rerank.K1}, "
        f"k2 {rerank.K2}, lambda {rerank.LAMBDA}",
    }


def _augmentation(cfg: CfgNode) -> list[str]:
    nodes = {
        "flip": cfg.INPUT.FLIP,
        "padding": cfg.INPUT.PADDING,
        "random crop": cfg.INPUT.CROP,
        "colour jitter": cfg.INPUT.CJ,
        "affine": cfg.INPUT.AFFINE,
        "auto-augment": cfg.INPUT.AUTOAUG,
        "augmix": cfg.INPUT.AUGMIX,
        "random erasing": cfg.INPUT.REA,
        "random patch": cfg.INPUT.RPT,
    }
    enabled = {label: node for label, node in nodes.items() if node.ENABLED}
    return [f"{label} (p {node.PROB})" if "PROB" in node else label for label, node in enabled.items()]


def _pairs(overrides: Sequence[str]) -> str:
    return " ".join(f'"{word}"' if "(" in word else word for word in overrides)


def _ablated(request: Request) -> list[Method]:
    if len(request.methods) != 1:
        raise UsageError("--ablation takes one method, the MDPR to ablate: --methods mdpr, or a config file of an MDPR")
    unknown = next((name for name in request.ablations if name not in ablations.GROUPS), None)
    if unknown:
        raise UsageError(f"--ablation {unknown}: there are {', '.join(ablations.GROUPS)}")
    (base,) = find_methods(request.methods)
    architecture = read_config(base.config, parts=("model",)).MODEL.META_ARCHITECTURE
    if architecture != "MDPR":
        raise UsageError(f"--ablation takes MDPR apart, and {base.config} is a {architecture}")
    rows = [ablations.FULL, *(row for name in request.ablations for row in ablations.GROUPS[name])]
    return [Method(row.name, row.title, base.config, row.overrides, row.trained) for row in rows]
