"""Sweeps: every combination of the values is a row, and each mistake is one line before anything is trained."""

import dataclasses
import itertools
import json
import re

import pytest
from fastreid.config import get_cfg
from support.comparisons import OVERRIDES, REQUEST, made_up_result

from mdpr_fastreid.cli import main
from mdpr_fastreid.compare import report
from mdpr_fastreid.compare.grid import Axis, check_grid, read_grid
from mdpr_fastreid.compare.plan import describe_shared, make_plan
from mdpr_fastreid.config import add_mdpr_config
from mdpr_fastreid.errors import UsageError

RATES = "SOLVER.BASE_LR=1e-4,3.5e-4"
STRIPES = "MODEL.MDPR.PARTS=2,3"


@pytest.fixture(scope="module")
def swept():
    """MDPR and BoT, two seeds, four points."""
    return make_plan(dataclasses.replace(REQUEST, grid=(RATES, STRIPES)))


def test_the_rows_are_the_product_of_the_values_and_nothing_is_run_twice(swept):
    settings = {run.name: (run.cfg.SOLVER.BASE_LR, run.cfg.MODEL.MDPR.PARTS, run.seed) for run in swept.runs}
    of_mdpr = [value for name, value in settings.items() if name.startswith("mdpr")]
    assert sorted(of_mdpr) == sorted(itertools.product((1e-4, 3.5e-4), (2, 3), (0, 1)))
    # Stripes change nothing in BoT
    of_bot = [(rate, seed) for name, (rate, _, seed) in settings.items() if name.startswith("bot")]
    assert sorted(of_bot) == sorted(itertools.product((1e-4, 3.5e-4), (0, 1)))
    first, last = swept.methods[0], swept.methods[-1]
    assert (first.name, first.title) == ("mdpr-BASE_LR-0.0001-PARTS-2", "MDPR BASE_LR=0.0001 PARTS=2")
    assert (last.name, last.title) == ("bot-BASE_LR-0.00035", "BoT BASE_LR=0.00035")
    stripes = {name: cost.parameters for name, cost in swept.costs.items()}
    assert stripes["mdpr-BASE_LR-0.0001-PARTS-3"] > stripes["mdpr-BASE_LR-0.0001-PARTS-2"]


def test_what_the_page_says_is_shared_is_shared(swept, tmp_path):
    plan = dataclasses.replace(swept, output=tmp_path)
    for number, run in enumerate(plan.runs):
        made_up_result(plan, run, mAP=40.0 + number)
    report.write_all(plan)
    written = json.loads((tmp_path / "results.json").read_text())
    assert "SOLVER.BASE_LR" not in written["shared"] and written["shared"]["SOLVER.MAX_EPOCH"] == 2
    shared = describe_shared(plan)
    assert "Adam 0.0001," in shared["schedule"] and " / Adam 0.00035," in shared["schedule"]
    assert "/" not in shared["sampler"]
    page = (tmp_path / "report.html").read_text()
    assert "<title>SOLVER.BASE_LR, MODEL.MDPR.PARTS on SynthReIDTiny" in page
    assert re.search(r"\| BoT BASE_LR=0.00035 +\| 4[0-9.]+ ± 4.2 +\|", (tmp_path / "table.md").read_text())


def test_one_method_needs_no_name_and_values_typed_otherwise_are_the_same_rows():
    asked = dataclasses.replace(REQUEST, methods=("bot",), seeds=(0,))
    grids = ("SOLVER.BASE_LR=1e-4,0.01",), ("SOLVER.BASE_LR=0.0001, 1e-2",)
    one, other = (make_plan(dataclasses.replace(asked, grid=grid)) for grid in grids)
    assert [method.title for method in one.methods] == ["BASE_LR=0.0001", "BASE_LR=0.01"]
    assert [method.name for method in one.methods] == [method.name for method in other.methods]


def test_keys_of_one_last_word_are_told_apart_and_a_list_is_one_value():
    steps = (*OVERRIDES, "SOLVER.SCHED", "MultiStepLR")  # in another schedule they change nothing
    grid = ("SOLVER.STEPS=[30,55],(40, 70)", "MODEL.LOSSES.TRI.SCALE=1.0,2.0", "MODEL.LOSSES.CE.SCALE=1.0,0.5")
    plan = make_plan(dataclasses.replace(REQUEST, methods=("bot",), seeds=(0,), grid=grid, overrides=steps))
    titles = [method.title for method in plan.methods]
    assert len(titles) == 8 and titles[0] == "SOLVER.STEPS=[30,55] TRI.SCALE=1.0 CE.SCALE=1.0"
    assert [list(run.cfg.SOLVER.STEPS) for run in plan.runs[::4]] == [[30, 55], [40, 70]]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("A.B=1,2", ("1", "2")),
        (" A.B = 1 , 2 ", ("1", "2")),
        ("A.B=(1,2),(3,)", ("(1,2)", "(3,)")),
        ("A.B=[[1,2],[3,4]],[]", ("[[1,2],[3,4]]", "[]")),
        ("A.B='a,b',\"c]\",d", ("'a,b'", '"c]"', "d")),
        ("A.B=('x,y','('),('z',)", ("('x,y','(')", "('z',)")),
        ("A.B=a=b,c", ("a=b", "c")),
    ],
)
def test_commas_in_brackets_and_quotes_are_of_the_value(text, values):
    assert read_grid([text]) == (Axis("A.B", values),)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["A.B"], "--grid A.B: write --grid KEY=VALUE,VALUE, and a list as [40,90]"),
        (["=1,2"], "--grid =1,2: write"),
        (["A.B="], "--grid A.B=: a value is empty"),
        (["A.B=1,,2"], "--grid A.B=1,,2: a value is empty"),
        (["A.B=1"], "--grid A.B=1 is one value: set it as A.B 1, or give two or more"),
        (["A.B=[1,2"], "--grid A.B=[1,2: a ] is missing"),
        (["A.B='1,2"], "--grid A.B='1,2: a ' is missing"),
        (["A.B=1,2", "A.B=3,4"], "--grid names A.B twice: put all of its values into one"),
    ],
)
def test_a_grid_of_another_form_is_one_line(texts, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        read_grid(texts)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SOLVER.BASE_RL=1e-4,1e-3", "SOLVER.BASE_RL"),
        ("SOLVER.BASE_LR=1e-4,fast", "SOLVER.BASE_LR cannot be 'fast': give a number"),
        ("SOLVER.BASE_LR=1e-4,0.0001", "--grid SOLVER.BASE_LR: 0.0001 is there twice"),
        ("SOLVER.STEPS=[1,2],[1, 2]", "--grid SOLVER.STEPS: [1, 2] is there twice"),
        ("SOLVER.GAMMA=0.1,0.2", "SOLVER.GAMMA is in --grid and a setting of all runs: take it out of one of them"),
        ("SOLVER.MAX_EPOCH=1,2", "--grid SOLVER.MAX_EPOCH: data, input size, batch, length, seeds"),
        ("INPUT.SIZE_TEST=[64,32],[32,16]", "--grid INPUT.SIZE_TEST: data, input size"),
        ("DATASETS.ROOT=a,b", "--grid DATASETS.ROOT: data, input size"),
        ("MODEL.BACKBONE.DEPTH=18x,34x", "--grid MODEL.BACKBONE.DEPTH: data, input size, batch, length, seeds"),
    ],
)
def test_a_grid_of_what_cannot_be_swept_is_one_line(text, message):
    cfg = get_cfg()
    add_mdpr_config(cfg)
    with pytest.raises(UsageError, match=re.escape(message)):
        check_grid(read_grid([text]), cfg, ("SOLVER.GAMMA", "0.5"), with_backbone=True)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"grid": ("MODEL.MDPR.PARTS=2,0",)}, "--grid, MDPR PARTS=0: MDPR cannot be built on build_resnet_backbone"),
        ({"grid": ("SOLVER.BASE_LR=0.1,-1.0",)}, "SOLVER.BASE_LR must be"),
        ({"grid": ("DATALOADER.NUM_INSTANCE=4,7",)}, "DATALOADER.NUM_INSTANCE 7"),
        ({"methods": ("bot",), "grid": (STRIPES,)}, "--grid MODEL.MDPR.PARTS changes none of the methods"),
        (
            {"grid": ("SOLVER.BASE_LR=1e+20,1e-20",)},
            "--grid: two of its rows would have one folder, runs/mdpr-BASE_LR-1e-20: make two comparisons",
        ),
        ({"methods": ("mdpr",), "ablations": ("maps",), "grid": (RATES,)}, "--ablation and --grid are two comparisons"),
        ({"methods": ("mgn",), "grid": (RATES,)}, "no method is left: MGN: MGN needs a ResNet of bottleneck"),
    ],
)
def test_values_that_a_method_refuses_are_one_line_before_anything_is_trained(asked, message):
    overrides = [word for word in OVERRIDES if word not in ("DATALOADER.NUM_INSTANCE", "4")]
    with pytest.raises(UsageError, match=re.escape(message)):
        make_plan(dataclasses.replace(REQUEST, seeds=(0,), **{"overrides": tuple(overrides), **asked}))


def test_a_dry_run_prints_the_rows(tmp_path, capsys):
    words = ["--data", "SynthReIDTiny", "--methods", "bot", "--backbone", "r18", "--size", "64x32", "--dry-run"]
    words += ["--seeds", "0,1", "--output", str(tmp_path / "out"), "--grid", RATES]
    assert main(["compare", *words, *OVERRIDES]) == 0
    printed = capsys.readouterr().out
    assert "bot-BASE_LR-0.00035  BASE_LR=0.00035: model and losses of" in printed
    assert "grid      SOLVER.BASE_LR\n" in printed and "4 runs, under" in printed
    assert not (tmp_path / "out").exists()
    assert main(["compare", *words, "--grid", RATES, *OVERRIDES]) == 2
    assert "mdpr compare: --grid names SOLVER.BASE_LR twice" in capsys.readouterr().err
