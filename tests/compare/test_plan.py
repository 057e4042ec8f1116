"""What runs, under which conditions."""

import dataclasses
import itertools
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
import torch
from fastreid.config import get_cfg
from fastreid.solver import build_lr_scheduler
from support.comparisons import OVERRIDES, REQUEST
from support.image_trees import market_tree, write_images

from mdpr_fastreid.cli import main
from mdpr_fastreid.compare import ablations
from mdpr_fastreid.compare.methods import BUILT_IN, find_methods, method_config
from mdpr_fastreid.compare.plan import describe, make_plan
from mdpr_fastreid.compare.shared import (
    _scale_schedule,
    data_digest,
    flat,
    iterations,
    read_config,
    shared_config,
)
from mdpr_fastreid.config import config_file
from mdpr_fastreid.errors import UsageError

ROOT = Path(__file__).parents[2]


def differences(first, second):
    one, other = flat(first), flat(second)
    return {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}


@pytest.fixture(scope="module")
def shared():
    cfg, _ = shared_config(data="SynthReIDTiny", size=(64, 32), epochs=2, batch=64, overrides=OVERRIDES)
    return cfg


def test_runs_of_two_methods_differ_in_model_and_losses_only(small_plan):
    by_seed = [[run for run in small_plan.runs if run.seed == seed] for seed in small_plan.seeds]
    for runs in by_seed:
        for one, other in itertools.combinations(runs, 2):
            keys = differences(one.cfg, other.cfg)
            assert keys - {"OUTPUT_DIR"}
            assert all(key.startswith("MODEL.") for key in keys - {"OUTPUT_DIR"})
            assert not keys & {
                f"MODEL.{key}" for key in ("DEVICE", "PIXEL_MEAN", "PIXEL_STD", "CHANNELS_LAST", "WEIGHTS")
            }
            of_backbone = {key.rpartition(".")[2] for key in keys if key.startswith("MODEL.BACKBONE.")}
            assert of_backbone <= {"WITH_NL"}


def test_runs_of_one_method_differ_in_the_seed_only(small_plan):
    first, second = (run.cfg for run in small_plan.runs if run.method.name == "bot")
    assert differences(first, second) == {"SEED", "OUTPUT_DIR"}


def test_every_seed_has_every_method_before_the_next_seed_starts(small_plan):
    assert [run.name for run in small_plan.runs] == ["mdpr/seed0", "bot/seed0", "mdpr/seed1", "bot/seed1"]


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_method_keeps_the_model_and_losses_of_its_config(name, shared):
    (method,) = find_methods([name])
    cfg = method_config(method, shared, 16, "r50")
    published = read_config(method.config)
    same = ("META_ARCHITECTURE", "LOSSES", "FREEZE_LAYERS")
    assert all(cfg.MODEL[key] == published.MODEL[key] for key in same)
    heads = {key: value for key, value in cfg.MODEL.HEADS.items() if key != "NUM_CLASSES"}
    assert heads == {key: value for key, value in published.MODEL.HEADS.items() if key != "NUM_CLASSES"}
    assert cfg.MODEL.BACKBONE.WITH_NL == published.MODEL.BACKBONE.WITH_NL
    assert (cfg.MODEL.BACKBONE.FEAT_DIM, cfg.MODEL.MDPR.EMBEDDING_DIM) == (2048, 512)


def test_embeddings_keep_their_share_of_a_smaller_backbone(shared):
    (method,) = find_methods(["mdpr"])
    assert method_config(method, shared, 16, "r18").MODEL.MDPR.EMBEDDING_DIM == 128
    given = ("MODEL.MDPR.EMBEDDING_DIM", "96")
    assert method_config(method, shared, 16, "r18", given).MODEL.MDPR.EMBEDDING_DIM == 96


def test_a_config_file_of_the_toolbox_is_a_method_with_its_own_backbone(shared, tmp_path):
    base = tmp_path / "Base-SBS.yml"
    base.write_text("MODEL: {HEADS: {POOL_LAYER: GeneralizedMeanPoolingP}}\nSOLVER: {BASE_LR: 0.5}\n")
    path = tmp_path / "sbs_osnet.yml"
    backbone = "{NAME: build_osnet_backbone, DEPTH: x0_25, PRETRAIN: True}"
    path.write_text(
        f"_BASE_: Base-SBS.yml\nMODEL: {{WEIGHTS: a.pth, BACKBONE: {backbone}}}\n"
        "DATASETS: {NAMES: \"('Market1501',)\"}\nINPUT: {SIZE_TRAIN: [384, 128]}\nOUTPUT_DIR: logs/market\n"
    )
    (method,) = find_methods([str(path)])
    cfg = method_config(method, shared, 16)
    assert method.name == "sbs_osnet"
    assert cfg.MODEL.BACKBONE.NAME == "build_osnet_backbone" and cfg.MODEL.BACKBONE.FEAT_DIM == 128
    assert cfg.MODEL.HEADS.POOL_LAYER == "GeneralizedMeanPoolingP"
    assert (cfg.MODEL.BACKBONE.PRETRAIN, cfg.MODEL.WEIGHTS) == (shared.MODEL.BACKBONE.PRETRAIN, "")
    assert not {key for key in differences(cfg, shared) if not key.startswith("MODEL.")}
    assert method_config(method, shared, 16, "r18").MODEL.BACKBONE.DEPTH == "18x"


def test_a_config_file_may_have_a_title(tmp_path):
    own = tmp_path / "a=b.yml"
    own.write_text("")
    methods = find_methods(["Half, 1/2=configs/x=1.yml", "y.yml", str(own)])
    assert [(method.name, method.title, method.config) for method in methods] == [
        ("Half-1-2", "Half, 1/2", "configs/x=1.yml"),
        ("y", "y", "y.yml"),
        ("a-b", "a=b", str(own)),
    ]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["..=x.yml"], "the title before = has no letters"),
        (["A b=x.yml", "A-b=y.yml"], "--methods names A-b twice"),
        (["mine=mdpr"], "did you mean mdpr"),
    ],
)
def test_a_title_that_names_no_row_of_its_own_is_an_error(names, message):
    with pytest.raises(UsageError, match=message):
        find_methods(names)


def test_the_layout_of_images_is_a_shared_condition(shared):
    cfg = shared.clone()
    cfg.MODEL.CHANNELS_LAST = True
    assert all(method_config(method, cfg, 16).MODEL.CHANNELS_LAST for method in find_methods(["mdpr", "sbs"]))


def test_cropped_images_cost_what_is_left_of_them():
    bot = dataclasses.replace(REQUEST, methods=("bot",), seeds=(0,))
    crop = ("INPUT.CROP.ENABLED", "True", "INPUT.CROP.SIZE", "[32, 32]")
    whole, cropped = (
        make_plan(dataclasses.replace(bot, overrides=bot.overrides + more)).costs["bot"] for more in ((), crop)
    )
    assert cropped.parameters == whole.parameters
    assert cropped.multiply_adds == pytest.approx(whole.multiply_adds / 2, rel=0.01)


def test_a_method_keeps_what_it_asks_for_beside_the_images(shared, tmp_path):
    path = tmp_path / "with_masks.yml"
    path.write_text(
        "INPUT: {FIELDS: \"('mask',)\", MASK: {GROUPS: synthreid_five, MISSING: ignore}, CLIP: {FRAMES: 3}}\n"
        "MODEL: {BACKBONE: {NAME: build_osnet_backbone, DEPTH: x0_25}}\n"
    )
    (method,) = find_methods([str(path)])
    inputs = method_config(method, shared, 16).INPUT
    assert (inputs.FIELDS, inputs.MASK.GROUPS, inputs.MASK.MISSING) == (("mask",), "synthreid_five", "ignore")
    assert inputs.CLIP.FRAMES == 3 and not shared.INPUT.FIELDS
    given = ("INPUT.MASK.GROUPS", "synthreid_four", "INPUT.CLIP.FRAMES", "5", "INPUT.SIZE_TEST", "[8, 8]")
    inputs = method_config(method, shared, 16, overrides=given).INPUT
    assert (inputs.MASK.GROUPS, inputs.MASK.MISSING, inputs.CLIP.FRAMES) == ("synthreid_four", "ignore", 5)
    assert inputs.FIELDS == ("mask",) and inputs.SIZE_TEST == shared.INPUT.SIZE_TEST


def test_what_a_backbone_cannot_carry_is_left_out_with_the_reason():
    plan = make_plan(dataclasses.replace(REQUEST, methods=("bot", "mgn")))
    assert [method.name for method in plan.methods] == ["bot"]
    assert "MGN needs a ResNet of bottleneck blocks" in plan.left_out["MGN"]
    assert "left out: MGN" in describe(plan)
    with pytest.raises(UsageError, match="no method is left: MGN: MGN needs"):
        make_plan(dataclasses.replace(REQUEST, methods=("mgn",)))


def test_the_reason_is_that_of_the_error():
    asked = dataclasses.replace(REQUEST, methods=("mgn",), backbone="r50", seeds=(0,))
    with pytest.raises(
        UsageError, match="MGN cannot be built on build_resnet_backbone 50x for images of 64x32: .*64, 32"
    ):
        make_plan(asked)
    assert not make_plan(dataclasses.replace(asked, size=(128, 64))).left_out


def test_missing_non_local_blocks_are_told():
    plan = make_plan(dataclasses.replace(REQUEST, methods=("agw",), seeds=(0,)))
    assert any("no non-local blocks" in line for line in plan.notes["agw"])


@pytest.mark.parametrize("epochs", [1, 2, 5, 30, 60])
@pytest.mark.parametrize("images", [64, 256, 12_936])
def test_the_schedule_follows_the_length_of_the_run(epochs, images):
    cfg = read_config("Baselines/Base-SBS.yml")
    cfg.SOLVER.MAX_EPOCH, published = epochs, cfg.SOLVER.MAX_EPOCH
    _scale_schedule(cfg, (), published, images)
    total = epochs * (images // cfg.SOLVER.IMS_PER_BATCH)
    assert min(2000, total / 6 + 1) >= cfg.SOLVER.WARMUP_ITERS
    assert epochs // 2 == cfg.SOLVER.DELAY_EPOCHS
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    build_lr_scheduler(cfg, optimizer, images // cfg.SOLVER.IMS_PER_BATCH)
    if (epochs, images) == (60, 12_936):
        assert (cfg.SOLVER.WARMUP_ITERS, cfg.SOLVER.FREEZE_ITERS, cfg.SOLVER.DELAY_EPOCHS) == (2000, 1000, 30)


def test_a_schedule_that_is_set_by_hand_stays(shared):
    words = ("SOLVER.WARMUP_ITERS", "3", "TEST.EVAL_PERIOD", "2")
    cfg, data = shared_config(data="SynthReIDTiny", epochs=4, batch=64, overrides=(*OVERRIDES, *words))
    assert (cfg.SOLVER.WARMUP_ITERS, cfg.TEST.EVAL_PERIOD) == (3, 2)
    assert iterations(cfg, data) == 16


def test_the_shared_config_says_how_often_to_evaluate_unless_the_length_is_another(tmp_path):
    config = tmp_path / "shared.yml"
    config.write_text(f"_BASE_: {config_file('MDPR/synthreid_r18.yml')}\nTEST:\n  EVAL_PERIOD: 5\n")
    as_it_is, _ = shared_config(str(config), data="SynthReIDTiny", overrides=OVERRIDES)
    longer, _ = shared_config(str(config), data="SynthReIDTiny", epochs=60, overrides=OVERRIDES)
    assert (as_it_is.TEST.EVAL_PERIOD, longer.TEST.EVAL_PERIOD) == (5, 12)


def test_the_losses_of_the_methods_need_not_be_those_of_the_shared_config():
    losses = ("MODEL.LOSSES.NAME", "('CrossEntropyLoss','CircleLoss')")
    plan = make_plan(dataclasses.replace(REQUEST, methods=("bot",), overrides=(*OVERRIDES, *losses)))
    assert not plan.left_out


MISTAKES = {
    "an unknown method": ({"methods": ("mdrp",)}, "--methods mdrp: did you mean mdpr?"),
    "a method twice": ({"methods": ("bot", "bot")}, "names bot twice"),
    "an unknown backbone": ({"backbone": "r19"}, "--backbone r19: there are r18, r34"),
    "a seed as a setting": ({"overrides": ("SEED", "1")}, "SEED is set for every run here: use --seeds"),
    "a size set twice": ({"overrides": ("INPUT.SIZE_TEST", "[32,16]")}, "INPUT.SIZE_TEST is set for every run"),
    "an unknown data set": ({"data": "SynthReIDTini"}, "SynthReIDTiny"),
    "an unknown ablation": (
        {"methods": ("mdpr",), "ablations": ("mops",)},
        "--ablation mops: there are maps",
    ),
    "a method in capitals": ({"methods": ("MDPR",)}, "--methods MDPR: did you mean mdpr?"),
    "an ablation of what is no MDPR": (
        {"methods": ("bot",), "ablations": ("maps",)},
        "--ablation takes MDPR apart, and Baselines/Base-BoT.yml is a Baseline",
    ),
    "a part that nobody registered": (
        {"overrides": (*OVERRIDES, "MODEL.HEADS.NAME", "MyHead")},
        "; code of your own that registers it is imported with --import MODULE",
    ),
    "an unknown distance": (
        {"overrides": (*OVERRIDES, "TEST.METRIC", "manhattan")},
        "TEST.METRIC: nothing is registered as 'manhattan' in DISTANCE; known: cosine, euclidean, jaccard",
    ),
    "an unknown sampler": (
        {"overrides": (*OVERRIDES, "DATALOADER.SAMPLER_TRAIN", "Fair")},
        "DATALOADER.SAMPLER_TRAIN: nothing is registered as 'Fair' in SAMPLER; known: ",
    ),
    "a title that another method has": (
        {"methods": ("mdpr", "MDPR=configs/MDPR/synthreid_r18.yml"), "backbone": None},
        "two methods have the title MDPR: write TITLE=FILE for one of them, with another title",
    ),
    "an ablation of two methods": ({"ablations": ("maps",)}, "--ablation takes one method"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_one_line_for(mistake):
    asked, message = MISTAKES[mistake]
    with pytest.raises(UsageError, match=re.escape(message)):
        make_plan(dataclasses.replace(REQUEST, **asked))


def test_the_digest_of_data_follows_names_labels_and_sizes_and_not_the_place(tmp_path):
    digests = []
    for folder, content in (("a", b"12"), ("b", b"12"), ("c", b"123")):
        path = tmp_path / folder / "train" / "1.jpg"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        (path.parent.parent / "2.jpg").write_bytes(b"")
        items = [("train", str(path), 1, 2), ("query", str(path.parent.parent / "2.jpg"), 1, 3)]
        digests.append(data_digest(items))
    assert digests[0] == digests[1] != digests[2]
    assert data_digest([("train", str(path), 1, 3), items[1]]) != digests[2]


DOCUMENTED = dict(re.findall(r"^\| (.+?) \| `(.+)` \|$", (ROOT / "docs/how-to/ablations.md").read_text(), re.MULTILINE))


@pytest.mark.parametrize("overrides", DOCUMENTED.values(), ids=DOCUMENTED)
def test_every_documented_ablation_is_in_the_plan(overrides):
    def model(words):
        cfg = get_cfg()
        cfg.merge_from_list(list(words))
        return flat(cfg.MODEL)

    planned = [ablations.FULL, *(row for group in ablations.GROUPS.values() for row in group)]
    matches = [row for row in planned if model(row.overrides) == model(shlex.split(overrides))]
    assert len(matches) == 1
    only_reads = shlex.split(overrides)[0].endswith("INFERENCE_FEATURES")
    assert matches[0].trained != (only_reads and matches[0] != ablations.FULL)


def test_features_are_evaluated_from_the_one_trained_model_of_their_seed(monkeypatch):
    monkeypatch.setitem(ablations.GROUPS, "features", ablations.GROUPS["features"][:2])
    asked = dataclasses.replace(REQUEST, methods=("mdpr",), ablations=("features", "guidance"), seeds=(3,))
    plan = make_plan(asked)
    assert [run.method.name for run in plan.runs if run.trained] == ["mdpr", "unguided"]
    reading = [run for run in plan.runs if not run.trained]
    assert len(reading) == 2
    weights = {run.cfg.MODEL.WEIGHTS for run in reading}
    assert weights == {str(plan.output / "runs" / "mdpr" / "seed3" / "model_final.pth")}
    assert all(run.source == "mdpr" for run in reading)
    assert plan.notes == {"mdpr": ["2 attention maps, beta = 0.001, 2 stripes"]}


def test_an_ablation_has_no_row_of_what_its_mdpr_is_already():
    overrides = (*REQUEST.overrides, "MODEL.MDPR.PARTS", "3")
    plan = make_plan(dataclasses.replace(REQUEST, methods=("mdpr",), ablations=("stripes",), overrides=overrides))
    assert [method.name for method in plan.methods] == ["mdpr", "stripes1"]
    assert plan.left_out["three stripes"] == "MDPR has that already"


@pytest.mark.parametrize("group", ["teaching", "branches", "features"])
def test_an_ablation_of_an_mdpr_that_reads_less_than_its_rows_is_one_line(group):
    overrides = (*REQUEST.overrides, "MODEL.MDPR.INFERENCE_FEATURES", "('hard_global','hard_parts')")
    asked = dataclasses.replace(REQUEST, methods=("mdpr",), ablations=(group,), overrides=overrides)
    with pytest.raises(UsageError, match=r"\('hard_global', 'hard_parts'\) leaves out features that rows"):
        make_plan(asked)


def test_the_baselines_have_the_published_settings():
    bot, agw, sbs, mgn = (read_config(f"Baselines/{name}_market1501_r50.yml") for name in ("bot", "agw", "sbs", "mgn"))
    assert (bot.SOLVER.MAX_EPOCH, bot.SOLVER.STEPS, bot.SOLVER.SCHED) == (120, [40, 90], "MultiStepLR")
    assert (bot.MODEL.LOSSES.TRI.MARGIN, bot.MODEL.HEADS.NECK_FEAT, bot.DATALOADER.NUM_INSTANCE) == (0.3, "before", 4)
    assert (agw.MODEL.HEADS.POOL_LAYER, agw.MODEL.LOSSES.TRI.HARD_MINING) == ("GeneralizedMeanPooling", False)
    assert agw.MODEL.BACKBONE.WITH_NL and sbs.MODEL.BACKBONE.WITH_NL and not mgn.MODEL.BACKBONE.WITH_NL
    assert (sbs.INPUT.SIZE_TRAIN, sbs.SOLVER.MAX_EPOCH, sbs.SOLVER.DELAY_EPOCHS) == ([384, 128], 60, 30)
    assert (sbs.MODEL.HEADS.CLS_LAYER, sbs.MODEL.HEADS.SCALE, sbs.MODEL.HEADS.MARGIN) == ("CircleSoftmax", 64, 0.35)
    assert (sbs.SOLVER.FREEZE_ITERS, sbs.SOLVER.ETA_MIN_LR, sbs.DATALOADER.NUM_INSTANCE) == (1000, 7e-7, 16)
    assert (mgn.MODEL.META_ARCHITECTURE, mgn.MODEL.HEADS.EMBEDDING_DIM) == ("MGN", 256)


def test_a_dry_run_prints_the_plan_and_makes_nothing(tmp_path, capsys):
    words = ["--data", "SynthReIDTiny", "--methods", "bot", "--backbone", "r18", "--size", "64x32", "--dry-run"]
    assert main(["compare", *words, "--output", str(tmp_path / "out"), *OVERRIDES]) == 0
    told = capsys.readouterr().out
    assert "shared by all runs" in told and "64x32 (height x width)" in told and "1 run, under" in told
    assert not (tmp_path / "out").exists()


def test_queries_that_do_not_count_are_told(tmp_path, capsys):
    write_images(market_tree(tmp_path / "shop"), ["query/0900_c1s1_000009_00.png"], seed=9)
    words = ["--data", "shop", "--methods", "bot", "--backbone", "r18", "--size", "64x32", "--dry-run", "--batch", "4"]
    own = ["DATASETS.CUSTOM", f"(('shop', '{tmp_path / 'shop'}'),)", "DATALOADER.NUM_INSTANCE", "2"]
    assert main(["compare", *words, "--output", str(tmp_path / "out"), *OVERRIDES, *own]) == 0
    assert " 5 queries (1 without a match, which do not count), 4 gallery images" in capsys.readouterr().out


SENSELESS = {
    "--size": ("big", "64", "0x8"),
    "--epochs": ("0", "²"),
    "--jobs": ("0",),
    "--resubmit": ("0", "x"),
    "--launcher": ("pbs",),
    "--seeds": ("0,0", "1,01", "-1", "1,x", "2147483648"),
    "--methods": ("", ","),
    "--ablation": ("",),
}


@pytest.mark.parametrize("words", [(option, value) for option, values in SENSELESS.items() for value in values])
def test_options_that_make_no_sense_are_refused(words, capsys):
    with pytest.raises(SystemExit) as refused:
        main(["compare", *words])
    assert refused.value.code == 2
    assert f"argument {words[0]}: " in capsys.readouterr().err


def test_the_project_runs_the_comparison_with_its_conditions(monkeypatch, capsys):
    configs = ROOT / "projects" / "Benchmark" / "configs"
    words = ["--config-file", str(configs / "demo_r18.yml"), "--methods", "bot", "--data", "SynthReIDTiny", "--dry-run"]
    monkeypatch.setattr(sys, "argv", ["train_net.py", *words])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "projects" / "Benchmark" / "train_net.py"), run_name="__main__")
    assert ended.value.code == 0
    assert "batches of 32, 4 of an identity" in capsys.readouterr().out
    assert read_config(str(configs / "base_r50.yml")).DATASETS.NAMES == ("SynthReIDBase",)


def test_a_backbone_of_timms_is_shared_by_the_methods_that_have_a_name():
    asked = dataclasses.replace(REQUEST, backbone=None, shared="MDPR/synthreid_mobilenetv4-s.yml", seeds=(0,))
    plan = make_plan(dataclasses.replace(asked, methods=("mdpr", "sbs", "Baselines/sbs_synthreid_vit-t.yml")))
    assert plan.left_out == {}
    models = [run.cfg.MODEL.BACKBONE.TIMM.MODEL for run in plan.runs]
    assert models == ["mobilenetv4_conv_small", "mobilenetv4_conv_small", "vit_tiny_patch16_224"]
    assert [run.cfg.MODEL.BACKBONE.FEAT_DIM for run in plan.runs] == [960, 960, 192]
    assert plan.runs[0].cfg.MODEL.MDPR.EMBEDDING_DIM == 240


def test_a_method_whose_pooling_does_not_fit_the_backbone_is_left_out_with_the_reason():
    asked = dataclasses.replace(REQUEST, backbone=None, shared="MDPR/synthreid_convnext-atto.yml", seeds=(0,))
    plan = make_plan(dataclasses.replace(asked, methods=("bot", "sbs")))
    assert list(plan.left_out) == ["SBS"]
    assert "set it to GlobalAvgPool" in plan.left_out["SBS"]
    plan = make_plan(dataclasses.replace(asked, methods=("bot", "Baselines/sbs_synthreid_convnext-atto.yml")))
    assert plan.left_out == {}
