"""The runs of a comparison, what they share and where they lie."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from fastreid.config import CfgNode

from mdpr_fastreid.bench.cost import multiply_adds, parameters
from mdpr_fastreid.compare import ablations
from mdpr_fastreid.compare.grid import Axis, Point, check_grid, effective, points, read_grid, row_of
from mdpr_fastreid.compare.methods import (
    BUILT_IN,
    CannotCarryError,
    Method,
    empty_model,
    find_methods,
    method_config,
    notes,
    settings_ablated,
)
from mdpr_fastreid.compare.shared import DEFAULT_CONFIG, Data, iterations, read_config, shared_config
from mdpr_fastreid.config.keys import value_of
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.modeling import image_sizes


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
    grid: tuple[str, ...] = ()
    """Keys of which every row has a value of its own."""
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
    grid: tuple[str, ...] = ()
    """``KEY=VALUE,VALUE``, as :func:`mdpr_fastreid.compare.grid.read_grid` takes it."""
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
    axes = read_grid(request.grid)
    shared, data = _conditions(request)
    check_grid(axes, shared, request.overrides, request.backbone is not None)
    methods = _ablated(request) if request.ablations else find_methods(request.methods)
    rows, left_out = _rows(request, methods, axes, data)
    if not rows:
        raise UsageError("no method is left: " + "; ".join(f"{name}: {why}" for name, why in left_out.items()))
    _check_names(rows)
    if request.ablations:
        rows, repeated = _without_repetitions(rows)
        left_out |= repeated
    plan = Plan(
        output=request.output,
        shared=shared,
        data=data,
        methods=tuple(row.method for row in rows),
        # Seed by seed, so that an interrupted comparison has every method
        runs=tuple(sorted(_runs(request, rows), key=lambda run: (request.seeds.index(run.seed), not run.trained))),
        left_out=left_out,
        notes={row.method.name: row.notes for row in rows if row.notes},
        costs={row.method.name: row.cost for row in rows},
        command=request.command,
        ablation=bool(request.ablations),
        grid=tuple(axis.key for axis in axes),
        imports=request.imports,
    )
    for run in plan.runs:
        run.cfg.OUTPUT_DIR = str(plan.folder(run))
        if not run.trained:
            run.cfg.MODEL.WEIGHTS = str(
                plan.folder(run).parents[1] / run.source / f"seed{run.seed}" / "model_final.pth"
            )
    return plan


class _Row(NamedTuple):
    """A method, with its values of the grid, and its config."""

    method: Method
    cfg: CfgNode
    cost: Cost
    notes: list[str]


def _conditions(request: Request, point: Point = (), found: Data | None = None) -> tuple[CfgNode, Data]:
    return shared_config(
        request.shared,
        data=request.data,
        size=request.size,
        epochs=request.epochs,
        batch=request.batch,
        overrides=(*request.overrides, *(word for pair in point for word in pair)),
        found=found,
    )


def _rows(
    request: Request, methods: Sequence[Method], axes: Sequence[Axis], data: Data
) -> tuple[list[_Row], dict[str, str]]:
    """Every method at every point of the grid where it differs, and why methods are left out, by title.

    Raises:
        UsageError: a key changes no method, or a method can be built with some values and not with others.
    """
    conditions = [(point, _conditions(request, point, data)[0]) for point in points(axes)]
    rows, left_out, changed = [], {}, set()
    for method in methods:
        own: dict[str, _Row] = {}
        values: dict[str, list[object]] = {}
        errors: dict[str, str] = {}
        for point, shared in conditions:
            words = (*request.overrides, *(word for pair in point for word in pair))
            row = method
            try:
                cfg = method_config(method, shared, data.identities, request.backbone, words)
                used = effective(point, cfg)
                row = row_of(method, used, axes, cfg, titled=len(methods) > 1)
                set_to = [value_of(cfg, key) for key, _ in used]
                if row.name not in own:
                    own[row.name], values[row.name] = _row(request, row, cfg), set_to
                elif values[row.name] != set_to:
                    raise UsageError(
                        f"--grid: two of its rows would have one folder, runs/{row.name}: make two comparisons"
                    )
            except CannotCarryError as error:
                errors[row.title] = str(error)
                continue
            changed |= {key for key, _ in used}
        if own and errors:
            raise UsageError(f"--grid, {next(iter(errors))}: {next(iter(errors.values()))}")
        left_out |= {method.title: next(iter(errors.values()))} if errors else {}
        rows += own.values()
    unused = next((axis.key for axis in axes if axis.key not in changed), None) if rows else None
    if unused:
        raise UsageError(f"--grid {unused} changes none of the methods, with the other settings as they are")
    return rows, left_out


def _row(request: Request, method: Method, cfg: CfgNode) -> _Row:
    model = empty_model(cfg)
    lines = notes(cfg, model)
    if request.ablations and method.name == ablations.FULL.name:
        lines.append(settings_ablated(cfg))
    return _Row(method, cfg, Cost(parameters(model), multiply_adds(model, image_sizes(cfg).test.size)), lines)


def _runs(request: Request, rows: Sequence[_Row]) -> Iterator[Run]:
    for row in rows:
        for seed in request.seeds:
            own = row.cfg.clone()
            own.SEED = seed
            yield Run(row.method, seed, own, "" if row.method.trained else ablations.FULL.name)


def _without_repetitions(rows: Sequence[_Row]) -> tuple[list[_Row], dict[str, str]]:
    """The rows of an ablation that differ from the whole model, which is the first one, and why others are left out.

    Raises:
        UsageError: rows read features that the whole model leaves out, so that they would differ in two things.
    """
    whole, *others = rows
    read = whole.cfg.MODEL.MDPR.INFERENCE_FEATURES
    if any(not set(read).issuperset(row.cfg.MODEL.MDPR.INFERENCE_FEATURES) for row in others):
        raise UsageError(
            f"MODEL.MDPR.INFERENCE_FEATURES {tuple(read)} leaves out features that rows of this --ablation read: leave "
            "the key as it is by default, or choose other ablations"
        )
    equal = [row.method.title for row in others if row.cfg.MODEL == whole.cfg.MODEL]
    kept = [row for row in rows if row.method.title not in equal]
    return kept, dict.fromkeys(equal, f"{whole.method.title} has that already")


def _check_names(rows: Sequence[_Row]) -> None:
    """Two rows cannot have one title or folder; some file systems do not tell capitals from small letters."""
    folders: dict[str, str] = {}
    titles: set[str] = set()
    for row in rows:
        name, title = row.method.name, row.method.title
        if title in titles:
            raise UsageError(
                f"two methods have the title {title}: write TITLE=FILE for one of them, with another title"
            )
        other = folders.setdefault(name.lower(), title)
        if other != title:
            raise UsageError(f"{other} and {title} would have one folder, runs/{name}: make two comparisons")
        titles.add(title)


def describe(plan: Plan) -> str:
    """The plan as text: conditions, methods, runs."""
    lines = ["shared by all runs"]
    lines += [f"  {name:<9} {value}" for name, value in describe_shared(plan).items()]
    lines += [f"  {'grid':<9} {', '.join(plan.grid)}"] if plan.grid else []
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
    """The conditions in words, by what they are about; where a grid has the rows differ, all that there are."""
    if not plan.grid:
        return _described(plan, plan.shared)
    rows = [_described(plan, run.cfg) for run in plan.runs]
    return {name: " / ".join(dict.fromkeys(row[name] for row in rows)) for name in rows[0]}


def _described(plan: Plan, cfg: CfgNode) -> dict[str, str]:
    data = plan.data
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
    if request.grid:
        raise UsageError("--ablation and --grid are two comparisons: take one of them out")
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
