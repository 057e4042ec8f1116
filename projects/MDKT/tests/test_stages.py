"""Both stages in one command: what stage 1 takes over, where a stopped training goes on, and what is refused."""

import logging
import re
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import mdkt.stages
import pytest
from mdkt.settings import CONFIGS
from small_mdkt import PROJECT

from mdpr_fastreid.config import config_from
from mdpr_fastreid.errors import UsageError

TRANSFER = str(CONFIGS / "synthreid_clips_r18.yml")


@pytest.fixture
def trained(monkeypatch):
    """The command lines of what would be trained, which leaves the checkpoints of a complete training."""
    calls = []

    def train(args):
        calls.append(args)
        folder = Path(config_from(args).OUTPUT_DIR)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model_final.pth").touch()
        (folder / "config.yaml").write_text(config_from(args).dump())
        (folder / "last_checkpoint").write_text("model_final.pth")

    monkeypatch.setattr(mdkt.stages, "train_or_evaluate", train)
    # Earlier tests may have left one that writes to their captured output
    monkeypatch.setattr(logging.getLogger("fastreid"), "handlers", [])
    return calls


def command(output, *overrides, config=TRANSFER, resume=False, eval_only=False):
    small = ("DATASETS.NAMES", ("SynthReIDClipsTiny",), "SOLVER.IMS_PER_BATCH", 8)
    words = ["OUTPUT_DIR", str(output), *small, *overrides]
    return Namespace(config_file=config, opts=words, resume=resume, eval_only=eval_only, num_gpus=1)


def test_a_teacher_that_is_not_named_is_trained_first_on_the_same_data_and_seed(trained, tmp_path):
    words = ("SEED", 7, "DATASETS.NAMES", ("SynthReIDClipsTiny",), "SOLVER.MAX_EPOCH", 3, "DATALOADER.NUM_WORKERS", 0)
    mdkt.stages.train_both_stages(command(tmp_path, *words))
    first, second = map(config_from, trained)
    assert first.MODEL.META_ARCHITECTURE == "VideoReID" and second.MODEL.META_ARCHITECTURE == "MDKT"
    assert f"{tmp_path}/teacher" == first.OUTPUT_DIR and str(tmp_path) == second.OUTPUT_DIR
    assert f"{tmp_path}/teacher/model_final.pth" == second.MODEL.MDKT.TEACHER_WEIGHTS
    assert first.SEED == second.SEED == 7 and first.DATALOADER.NUM_WORKERS == 0
    assert first.DATASETS.NAMES == second.DATASETS.NAMES == ("SynthReIDClipsTiny",)
    assert first.SOLVER.MAX_EPOCH == 8 and second.SOLVER.MAX_EPOCH == 3  # each stage has its own schedule


def test_a_named_teacher_another_architecture_and_an_evaluation_are_one_stage(trained, tmp_path):
    named = command(tmp_path, "MODEL.MDKT.TEACHER_WEIGHTS", "teacher.pth")
    teacher = command(tmp_path, config=str(CONFIGS / "synthreid_clips_teacher_r18.yml"))
    evaluated = command(tmp_path, "MODEL.WEIGHTS", "model_final.pth", eval_only=True)
    for args in (named, teacher, evaluated):
        mdkt.stages.train_both_stages(args)
    assert trained == [named, teacher, evaluated]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (("SEED", 8), "trained with SEED 7, and it is 8 now"),
        (("DATASETS.COMBINEALL", True), "trained with DATASETS.COMBINEALL False, and it is True now"),
    ],
)
def test_a_stage_1_of_another_seed_or_other_data_is_not_gone_on_from(trained, tmp_path, override, message):
    words = ("SEED", 7, "DATASETS.NAMES", ("SynthReIDClipsTiny",))
    mdkt.stages.train_both_stages(command(tmp_path, *words))
    (tmp_path / "last_checkpoint").unlink()
    trained.clear()
    mdkt.stages.train_both_stages(command(tmp_path, *words, resume=True))
    assert len(trained) == 1
    (tmp_path / "last_checkpoint").unlink()
    with pytest.raises(UsageError, match=message):
        mdkt.stages.train_both_stages(command(tmp_path, *words, *override, resume=True))


def test_a_stopped_training_goes_on_in_the_stage_that_was_stopped(trained, tmp_path):
    teacher = tmp_path / "teacher"
    teacher.mkdir()
    (teacher / "last_checkpoint").write_text("model_0000.pth")
    mdkt.stages.train_both_stages(command(tmp_path, resume=True))  # in stage 1
    assert [config_from(args).OUTPUT_DIR for args in trained] == [str(teacher), str(tmp_path)]
    assert all(args.resume for args in trained)

    trained.clear()
    (tmp_path / "last_checkpoint").unlink()
    mdkt.stages.train_both_stages(command(tmp_path, resume=True))  # between the stages
    (only,) = trained
    assert f"{teacher}/model_final.pth" == config_from(only).MODEL.MDKT.TEACHER_WEIGHTS

    trained.clear()
    (teacher / "model_final.pth").unlink()
    args = command(tmp_path, resume=True)
    mdkt.stages.train_both_stages(args)  # in stage 2, whose checkpoint is all it needs
    assert trained == [args]


def test_what_torchrun_has_restarted_goes_on_in_its_stage(trained, tmp_path, monkeypatch):
    mdkt.stages.train_both_stages(command(tmp_path))
    trained.clear()
    of_torchrun = dict.fromkeys(("RANK", "LOCAL_RANK"), "0") | {"WORLD_SIZE": "1", "MASTER_ADDR": "::1"}
    for name, value in (of_torchrun | {"MASTER_PORT": "1", "TORCHELASTIC_RESTART_COUNT": "1"}).items():
        monkeypatch.setenv(name, value)
    mdkt.stages.train_both_stages(command(tmp_path))
    (only,) = trained
    assert only.resume and str(tmp_path) == config_from(only).OUTPUT_DIR
    assert (tmp_path / "model_final.pth").is_file()


def test_without_resume_both_stages_begin_anew(trained, tmp_path):
    mdkt.stages.train_both_stages(command(tmp_path))
    mdkt.stages.train_both_stages(command(tmp_path))
    assert len(trained) == 4 and not any(args.resume for args in trained)


OSNET = ("MODEL.BACKBONE.NAME", "build_osnet_backbone", "MODEL.BACKBONE.DEPTH", "x1_0")
LATE = {
    "more frames than a clip has": (("MODEL.MDKT.STUDENT_FRAMES", 5), "STUDENT_FRAMES 5 is more than the 4 frames"),
    "no clips": (("INPUT.FIELDS", ()), "MDKT teaches with clips"),
    "weights": (("MODEL.WEIGHTS", "a.pth"), "MODEL.WEIGHTS a.pth: both networks of MDKT start from"),
    "a config of stage 2": (("MODEL.MDKT.TEACHER_CONFIG", TRANSFER), "trains a MDKT, and the teacher is a VideoReID"),
    "too few identities": (("SOLVER.IMS_PER_BATCH", 64), "16 identities .*, the training set has 6"),
    "half an identity": (("SOLVER.IMS_PER_BATCH", 7), "NUM_INSTANCE"),
    "no pretrained weights": (
        ("MODEL.BACKBONE.PRETRAIN", True, "MODEL.BACKBONE.PRETRAIN_PATH", "/no/file.pth"),
        "PRETRAIN_PATH /no/file.pth",
    ),
    "no such layer": ((*OSNET, "MODEL.MDKT.LAST_BLOCK_RELU", True), "RESET names layer4, which build_osnet_back"),
}


@pytest.mark.parametrize("what", LATE)
def test_what_stage_2_could_not_begin_with_is_an_error_before_stage_1(trained, tmp_path, what):
    overrides, message = LATE[what]
    with pytest.raises(UsageError, match=message):
        mdkt.stages.train_both_stages(command(tmp_path, *overrides))
    assert not trained


def test_what_is_trained_on_is_the_same_in_both_stages(trained, tmp_path):
    words = ("DATASETS.COMBINEALL", True, "DATALOADER.SKIP_DAMAGED", True, "INPUT.CLIP.FROM_IMAGES", True)
    mdkt.stages.train_both_stages(command(tmp_path, *words))
    for cfg in map(config_from, trained):
        assert cfg.DATASETS.COMBINEALL and cfg.DATALOADER.SKIP_DAMAGED and cfg.INPUT.CLIP.FROM_IMAGES


def test_an_earlier_run_is_set_aside_before_stage_1_begins_anew(trained, tmp_path, monkeypatch):
    mdkt.stages.train_both_stages(command(tmp_path))

    def killed(args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mdkt.stages, "train_or_evaluate", killed)
        with pytest.raises(KeyboardInterrupt):
            mdkt.stages.train_both_stages(command(tmp_path))
    assert (tmp_path / "earlier-1/model_final.pth").is_file()
    trained.clear()
    (tmp_path / "teacher/last_checkpoint").unlink()
    mdkt.stages.train_both_stages(command(tmp_path, resume=True))
    assert [config_from(args).OUTPUT_DIR for args in trained] == [f"{tmp_path}/teacher", str(tmp_path)]


def test_no_teacher_and_no_config_of_one_is_an_error(trained, tmp_path):
    with pytest.raises(UsageError, match="or the config to train it by in MODEL.MDKT.TEACHER_CONFIG"):
        mdkt.stages.train_both_stages(command(tmp_path, "MODEL.MDKT.TEACHER_CONFIG", ""))
    assert not trained


def of_pairing(printed):
    """The last I2V/mAP that was printed."""
    return re.findall(r"I2V/mAP\D+([\d.]+)", printed)[-1]


def test_the_command_trains_both_stages_and_logs_each_once(tmp_path):
    small = "INPUT:\n  SIZE_TRAIN: [32, 16]\n  SIZE_TEST: [32, 16]\nSOLVER:\n  MAX_EPOCH: 1\n  IMS_PER_BATCH: 8\n"
    stages = {"teacher": "synthreid_clips_teacher_r18.yml", "transfer": "synthreid_clips_r18.yml"}
    for name, base in stages.items():
        own = f"_BASE_: {CONFIGS / base}\n{small}  WARMUP_ITERS: 1\nTEST:\n  EVAL_PERIOD: 1\n"
        own += 'DATASETS:\n  NAMES: ("SynthReIDClipsTiny",)\n  TESTS: ("SynthReIDClipsTiny",)\n'
        (tmp_path / f"{name}.yml").write_text(own)
    words = ["MODEL.MDKT.TEACHER_CONFIG", tmp_path / "teacher.yml", "OUTPUT_DIR", tmp_path / "out"]
    command = [sys.executable, PROJECT / "train_net.py", "--config-file", tmp_path / "transfer.yml", *words]
    options = {"capture_output": True, "text": True, "timeout": 600, "check": False, "cwd": tmp_path}
    done = subprocess.run([*map(str, command), "DATALOADER.NUM_WORKERS", "0", "MODEL.DEVICE", "cpu"], **options)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert done.stdout.count("Starting training from epoch 0") == 2
    assert done.stdout.count("MDKT prepares its training") == 1
    own, transfer = ((tmp_path / folder / "log.txt").read_text() for folder in ("out/teacher", "out"))
    assert "MDKT prepares its training" in transfer and "MDKT prepares its training" not in own
    assert "I2V/mAP" in done.stdout
    evaluated = [*command[:4], "--eval-only", *command[4:], "MODEL.WEIGHTS", tmp_path / "out/model_final.pth"]
    again = subprocess.run([*map(str, evaluated), "DATALOADER.NUM_WORKERS", "0", "MODEL.DEVICE", "cpu"], **options)
    assert again.returncode == 0, again.stdout[-3000:] + again.stderr
    assert of_pairing(again.stdout) == of_pairing(done.stdout)


def test_a_mistake_is_one_line_of_the_command(tmp_path):
    words = ["--config-file", TRANSFER, "MODEL.MDKT.MODE", "mutal", "OUTPUT_DIR", str(tmp_path)]
    command = [sys.executable, str(PROJECT / "train_net.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2 and "did you mean mutual?" in done.stderr and "Traceback" not in done.stderr
