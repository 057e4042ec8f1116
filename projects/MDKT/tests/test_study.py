"""The study: each row differs from MDKT in what it says, all start from one network, and stage 1 is a row, too."""

import sys

import pytest
import torch
from fastreid.config import CfgNode
from small_mdkt import PROJECT, batch_of, model_of
from training_runs import run, tiny

from mdpr_fastreid.cli import main
from mdpr_fastreid.config import read_config
from mdpr_fastreid.modeling import build_model

STUDY = PROJECT / "study"
sys.path.insert(0, str(STUDY))
import stage1_row  # noqa: E402, F401  (registers the row)

NO_WEIGHTS = ["MODEL.BACKBONE.PRETRAIN", False]
ZERO = {"KD.SCALE": 0, "PD.SCALE": 0, "TCL.SCALE": 0}
ROWS = {
    "mdkt": {},
    "tr_only": {"MODE": "frozen", **ZERO},
    "vkd": {"MODE": "frozen", "TCL.SCALE": 0},
    "frozen_tcl": {"MODE": "frozen"},
    "independent": {"MODE": "independent"},
    "without_reset": {"RESET": ()},
    "without_mkd": {"KD.SCALE": 0},
    "without_pd": {"PD.SCALE": 0},
    "without_tcl": {"TCL.SCALE": 0},
    "without_triplet": {"TRI.SCALE": 0},
}
MDPR_ROWS = {
    "mdkt": {},
    "alone": {"MODE": "frozen", **ZERO},
    "kd": {"MODE": "frozen", "PD.SCALE": 0, "TCL.SCALE": 0},
    "not_normalized": {"PD.NORMALIZE": False, "TCL.NORMALIZE": False},
}


def leaves(node, prefix=""):
    found = {}
    for name, value in node.items():
        found |= leaves(value, f"{prefix}{name}.") if isinstance(value, CfgNode) else {f"{prefix}{name}": value}
    return found


def difference(file, other):
    one, whole = leaves(read_config(other)), leaves(read_config(file))
    assert one.keys() == whole.keys()
    return {key.removeprefix("MODEL.MDKT."): whole[key] for key in whole if whole[key] != one[key]}


@pytest.mark.parametrize(("folder", "rows"), [("rows", ROWS), ("mdpr_student", MDPR_ROWS)])
def test_each_row_differs_from_mdkt_in_what_it_says(folder, rows):
    files = {path.stem: path for path in (STUDY / folder).glob("*.yml") if path.stem != "evaluated_stage1"}
    assert files.keys() == rows.keys()
    for name, file in files.items():
        assert difference(file, files["mdkt"]) == rows[name], name
        build_model(read_config(file, [*NO_WEIGHTS, "MODEL.DEVICE", "meta", "MODEL.HEADS.NUM_CLASSES", 4]))


def test_the_rows_are_mdkts_defaults_and_start_from_one_network():
    own = leaves(read_config(STUDY / "rows/mdkt.yml").MODEL.MDKT)
    defaults = leaves(read_config("").MODEL.MDKT)
    assert {key for key in own if own[key] != defaults[key]} == {"TEACHER_CONFIG", "TEACHER_WEIGHTS"}
    stage1 = read_config(STUDY / "rows/evaluated_stage1.yml")
    assert own["TEACHER_WEIGHTS"] == stage1.MODEL.STAGE1.WEIGHTS
    student = read_config(STUDY / "mdpr_student/mdkt.yml").MODEL.MDKT
    assert ("MDPR", own["TEACHER_WEIGHTS"]) == (student.STUDENT, student.TEACHER_WEIGHTS)
    assert "seed{seed}" in own["TEACHER_WEIGHTS"]
    # Where the first command of the page leaves it
    assert f"{read_config(STUDY / 'stage1.yml').OUTPUT_DIR}/runs/stage1/" in own["TEACHER_WEIGHTS"]


def test_branches_differ_in_how_they_teach_each_other_alone():
    kinds = {"none": {"ENABLED": False}, "cosine": {}, "tcl_mkd": {"KIND": "tcl+mkd"}}
    kinds |= {name: {"KIND": name} for name in ("tcl", "mkd")}
    kinds |= {f"mkd_{t}": {"KIND": "mkd", "TEMPERATURE": float(t)} for t in (4, 64)}
    files = {path.stem: path for path in (STUDY / "branches").glob("*.yml") if path.stem != "conditions"}
    assert files.keys() == kinds.keys()
    for name, file in files.items():
        found = difference(file, files["cosine"])
        assert {key.rpartition(".")[2]: value for key, value in found.items()} == kinds[name]


def test_stage_1_is_evaluated_as_it_is(tmp_path):
    stage1 = model_of("VideoReID", seed=5).eval()
    torch.save({"model": stage1.state_dict()}, tmp_path / "seed4.pth")
    size = [*("INPUT.SIZE_TRAIN", [32, 16], "INPUT.SIZE_TEST", [32, 16]), "MODEL.DEVICE", "cpu"]
    words = [*size, "SEED", 4, "MODEL.STAGE1.WEIGHTS", str(tmp_path / "seed{seed}.pth"), "MODEL.HEADS.NUM_CLASSES", 3]
    words += NO_WEIGHTS
    cfg = read_config(STUDY / "rows/evaluated_stage1.yml", words)
    row = build_model(cfg).train()
    row.prepare_training(cfg)
    assert [name for name, p in row.named_parameters() if p.requires_grad] == ["nothing"]
    sum(row(batch_of()).values()).backward()
    with torch.no_grad():
        found, expected = row.eval()(batch_of()), stage1(batch_of())
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_stage_1_as_a_row_goes_through_a_training(tmp_path):
    stage1 = run(tiny(STUDY / "stage1.yml", tmp_path / "one", "SOLVER.MAX_EPOCH", 1, "TEST.EVAL_PERIOD", 1))
    own = ("MODEL.STAGE1.WEIGHTS", str(tmp_path / "one/model_final.pth"), "TEST.EVAL_PERIOD", 1)
    row = run(tiny(STUDY / "rows/evaluated_stage1.yml", tmp_path / "row", "SOLVER.MAX_EPOCH", 1, *own))
    assert row._last_eval_results == pytest.approx(stage1._last_eval_results)


def test_the_commands_of_the_page_are_comparisons(tmp_path, capsys):
    rows = ",".join(str(path) for path in sorted((STUDY / "rows").glob("*.yml")))
    words = ["--shared", str(STUDY / "conditions.yml"), "--data", "SynthReIDClipsTiny", "--seeds", "0,1"]
    words += ["--import", "mdkt", "--import", "stage1_row", "--output", str(tmp_path), "--batch", "12", "--dry-run"]
    assert main(["compare", "--methods", rows, *words]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ROWS)
