"""Command lines that cannot be meant: exit code 2 and one line, and nothing is written."""

import shlex

import pytest
from filelock import FileLock
from robustness.entry_points import assert_refused, files_in, mdpr, train_net

from mdpr_fastreid import cli
from mdpr_fastreid.bench import report as bench_report

CONFIG = "--config-file MDPR/duke_r50.yml"
ADDRESS = "https://nowhere.invalid/w.pth"

TRAIN_NET = {
    "--num-gpus -1": ("--num-gpus must be", "from 1 to 256", "got -1"),
    "--num-gpus 1000000": ("--num-gpus must be", "got 1000000"),
    "--num-gpus two": ("--num-gpus", "invalid int value: 'two'"),
    "--num-machines 0": ("--num-machines must be 1 or more, got 0",),
    "--num-machines -2": ("--num-machines must be 1 or more, got -2",),
    "--machine-rank 3": ("--machine-rank must be from 0 to 0", "got 3"),
    "--machine-rank -1": ("--machine-rank must be from 0 to 0", "got -1"),
    "--num-machines 2 --machine-rank 2": ("--machine-rank must be from 0 to 1", "got 2"),
    "--num-machines 2 --num-gpus 1": ("--dist-url tcp://HOST:PORT",),
    "--eval-only": ("--eval-only needs the weights to evaluate", "MODEL.WEIGHTS"),
    "--no-such-option": ("--no-such-option",),
    "--config-file": ("--config-file", "expected one argument"),
    "--config-file none.yml": ("config file none.yml does not exist",),
    "--config-file MDPR/duke_r51.yml": ("MDPR/duke_r51.yml does not exist",),
    "--config-file /": ("config file /: Is a directory",),
    "--config-file https://nowhere.invalid/c.yml": ("is an address, and configs are read from files",),
    "--config-file s3://bucket/c.yml": ("is an address",),
    "MODEL.DEVICE": ("MODEL.DEVICE has no value",),
    "MODEL.DEVICES cpu": ("did you mean MODEL.DEVICE?",),
    "MODEL cpu": ("no key MODEL;",),
    "MODEL.DEVICE=cpu 1": ("write MODEL.DEVICE cpu, with a space",),
    "MODEL.DEVIСE cpu": ("'MODEL.DEVI\\u0421E', as the names of keys have no letters but a to z",),
    "MODEL.DEVICE cpu --resume SOLVER.BASE_LR": ("--resume; options come before the pairs",),
    "MODEL.DEVICE vulkan": ("MODEL.DEVICE vulkan is not there",),
    "MODEL.DEVICE tpu": ("MODEL.DEVICE 'tpu' is no device",),
    "OUTPUT_DIR /dev/null": ("OUTPUT_DIR /dev/null cannot be written to",),
    "OUTPUT_DIR /proc/none/x": ("OUTPUT_DIR /proc/none/x cannot be written to",),
    "OUTPUT_DIR '\"a\\0b\"'": ("OUTPUT_DIR must be the path of a folder",),
    "DATASETS.NAMES Market1501": ("DATASETS.NAMES cannot be 'Market1501': give a list",),
    "SOLVER.IMS_PER_BATCH 64.5": ("SOLVER.IMS_PER_BATCH cannot be", "give a whole number"),
    "SOLVER.BASE_LR fast": ("SOLVER.BASE_LR cannot be 'fast'",),
    "MODEL.BACKBONE.PRETRAIN maybe": ("MODEL.BACKBONE.PRETRAIN cannot be 'maybe': give True or False",),
}  # fmt: skip

_RUN = "SynthReIDTiny"

MDPR = {
    "": ("<verb>",),
    "trian": ("trian",),
    "convert": ("IN, OUT",),
    "convert a.pth": ("OUT",),
    "convert none.pth out.pth": ("none.pth: no such weight file",),
    f"convert {ADDRESS} out.pth": (f"{ADDRESS}: is an address",),
    "convert / out.pth": ("/: is a folder",),
    "convert file.txt out.pth": ("file.txt: is truncated or not a file of torch.save",),
    "convert none.pth file.txt": ("file.txt exists already; --force replaces it",),
    "convert none.pth out.pth --bogus": ("--bogus",),
    "export": ("--config-file", "--weights", "--format", "--output"),
    f"export {CONFIG} --weights none.pth --output out.onnx": ("--format",),
    f"export {CONFIG} --weights none.pth --format onx --output out.onnx": ("unknown format 'onx'",),
    f"export {CONFIG} --weights none.pth --format onnx --output file.txt": ("file.txt",),
    "export --config-file none.yml --weights w.pth --format onnx --output o.onnx": ("none.yml does not exist",),
    f"export {CONFIG} --weights w.pth --format onnx --output o.onnx MODEL.X 1": ("no key MODEL.X",),
    f"export {CONFIG} --weights w.pth --format onnx --output o.onnx INPUT.SIZE_TEST [0]": ("one image size",),
    f"export {CONFIG} --weights w.pth --format onnx --output o.onnx --import none_such": ("--import none_such",),
    f"export {CONFIG} --weights w.pth --format onnx --output o.onnx MODEL.HEADS.NAME X": ("'X'", "--import MODULE"),
    f"export {CONFIG} --weights none.pth --format onnx --output o.onnx MODEL.BACKBONE.DEPTH 18x":
        ("none.pth: no such weight file",),
    f"export {CONFIG} --weights {ADDRESS} --format onnx --output o.onnx MODEL.BACKBONE.DEPTH 18x": ("is an address",),
    "data": ("NAME|DIR",),
    "data NoSuchSet": ("NoSuchSet",),
    "data none/such": ("none/such",),
    "data . --workers 0": ("--workers 0",),
    "data . --workers x": ("--workers",),
    "data a b --sample x.png": ("--sample",),
    "data .": ("no images",),
    "data . --camera-pattern (": ("(",),
    "synth": ("--preset",),
    "synth --preset huge": ("huge",),
    "synth --preset tiny --size 0x0": ("0x0",),
    "synth --preset tiny --size 100000x100000": ("100000x100000",),
    "synth --preset tiny --seed -1": ("'-1'",),
    "synth --preset tiny --workers 0": ("'0'",),
    "synth --preset tiny --set occlusion": ("--set occlusion: write KNOB=VALUE",),
    "synth --preset tiny --set none=1": ("none",),
    "synth --preset tiny --set occlusion=7": ("occlusion",),
    "synth --judge none": ("none",),
    "prepare --download": ("--download needs the NAME",),
    "prepare nothing": ("nothing is known of 'nothing'",),
    "prepare Market1501 --download": ("not downloaded",),
    "compare --seeds 1,1": ("different whole numbers",),
    "compare --seeds -1": ("--seeds",),
    "compare --seeds 99999999999": ("whole numbers from 0 to",),
    "compare --size 0x8": ("HxW",),
    "compare --epochs 0": ("whole number from 1",),
    "compare --batch -8": ("--batch",),
    "compare --jobs none": ("whole number from 1",),
    "compare --methods ,": ("an empty list",),
    f"compare --data {_RUN} --methods nosuch --dry-run": ("nosuch",),
    f"compare --data {_RUN} --methods mdpr,mdpr --dry-run": ("mdpr",),
    f"compare --data {_RUN} --ablation nosuch --dry-run": ("nosuch",),
    f"compare --data {_RUN} --backbone r51 --dry-run": ("r51",),
    f"compare --data {_RUN} --shared none.yml --dry-run": ("none.yml",),
    f"compare --data {_RUN} --import none_such --dry-run": ("--import none_such",),
    f"compare --data {_RUN} --dry-run SOLVER.BASE_LR": ("SOLVER.BASE_LR",),
    f"compare --data {_RUN} --dry-run SOLVER.NONE 1": ("SOLVER.NONE",),
    f"compare --data {_RUN} --dry-run SOLVER.BASE_LR -1.0": ("SOLVER.BASE_LR must be a number greater than 0",),
    "compare --data NoSuchSet --dry-run": ("NoSuchSet",),
    "run": ("script",),
    "run none.py": ("none.py: no such script",),
    "run .": (".: no such script",),
    "bench": ("<benchmark>",),
    "bench nothing": ("nothing",),
    "bench rerank --n x": ("--n",),
    "bench infer --runs 0": ("--runs",),
    "doctor --bogus": ("--bogus",),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, with one file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").write_text("not a weight file")
    return tmp_path


@pytest.mark.parametrize("words", TRAIN_NET)
def test_train_net(words, capsys, folder):
    before = files_in(folder)
    assert_refused(train_net(shlex.split(words), capsys), *TRAIN_NET[words])
    assert files_in(folder) == before


@pytest.mark.parametrize("words", MDPR)
def test_mdpr(words, capsys, folder):
    before = files_in(folder)
    assert_refused(mdpr(shlex.split(words), capsys), *MDPR[words])
    assert files_in(folder) == before


@pytest.mark.parametrize("verb", [verb for verb in cli.VERBS if verb != "run"])
def test_every_verb_refuses_an_unknown_option(verb, capsys, folder):
    before = files_in(folder)
    assert_refused(mdpr([verb, "--no-such-option"], capsys), "error:")
    assert files_in(folder) == before


@pytest.mark.parametrize("option", ["--config-file", "--resume"])
def test_a_nul_in_a_path_is_no_path(option, capsys, folder):
    words = [option, "a\0b"] if option == "--config-file" else ["OUTPUT_DIR", "a\0b"]
    assert_refused(train_net(words, capsys), "a\\x00b")


def test_two_trainings_do_not_share_an_output_dir(capsys, folder):
    output = folder / "run"
    output.mkdir()
    with FileLock(output / ".lock"):
        for resume in ([], ["--resume"]):
            outcome = train_net([*resume, "MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(output)], capsys)
            assert_refused(outcome, "another training is writing to it")
    assert set(files_in(output)) <= {str(output / ".lock")}


def test_the_results_of_a_benchmark_are_read_before_it_is_measured(capsys, folder):
    assert bench_report
    (folder / "rerank.json").write_text("{")
    assert_refused(mdpr(["bench", "rerank", "--output", "."], capsys), "rerank.json")
