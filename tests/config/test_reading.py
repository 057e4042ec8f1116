"""Mistakes in config files and on the command line are one line, with the way out."""

import os
from argparse import Namespace
from pathlib import Path

import pytest
from fastreid.config import get_cfg
from fastreid.engine import default_argument_parser

from mdpr_fastreid import config_file
from mdpr_fastreid.config import config_from
from mdpr_fastreid.config.reading import merge_file
from mdpr_fastreid.errors import UsageError

ROOT = Path(__file__).parents[2]


def parsed(*words):
    return default_argument_parser().parse_args([str(word) for word in words])


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "base.yml").write_text("SOLVER:\n  MAX_EPOCH: 7\n")
    (tmp_path / "mine.yml").write_text("_BASE_: base.yml\nSEED: 3\nSOLVER:\n  AMP:\n    DTYPE: bfloat16\n")
    return tmp_path / "mine.yml"


def test_file_base_file_and_overrides_are_merged_in_this_order(mine):
    cfg = config_from(parsed("--config-file", mine, "SEED", "5", "DATASETS.NAMES", "('Market1501','DukeMTMC')"))
    assert (cfg.SOLVER.MAX_EPOCH, cfg.SEED, cfg.SOLVER.AMP.DTYPE) == (7, 5, "bfloat16")
    assert cfg.DATASETS.NAMES == ("Market1501", "DukeMTMC")
    assert cfg.is_frozen()


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.yml")), ids=lambda path: path.name)
def test_a_file_sets_what_fastreid_sets_from_it(path):
    ours, stock = get_cfg(), get_cfg()
    merge_file(ours, str(path))
    stock.merge_from_file(str(path))
    assert ours == stock


def test_merge_keys_and_empty_sections_are_read_as_fastreid_reads_them(tmp_path):
    (tmp_path / "merged.yml").write_text(
        "DATASETS: &data\n  COMBINEALL: True\nSOLVER:\n  <<: {MAX_EPOCH: 7, BASE_LR: 1e-2}\n  MAX_EPOCH: 9\nTEST:\n"
    )
    cfg = get_cfg()
    merge_file(cfg, str(tmp_path / "merged.yml"))
    assert (cfg.DATASETS.COMBINEALL, cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.BASE_LR) == (True, 9, 0.01)


MISTAKES = {
    "a key that does not exist": (["SOLVER.BASE_LRR", "1"], r"no key SOLVER\.BASE_LRR; did you mean SOLVER\.BASE_LR\?"),
    "a key in the wrong section": (["MODEL.SEED", "1"], r"no key MODEL\.SEED; did you mean"),
    "a section instead of a key": (["SOLVER", "1"], r"there is no key SOLVER"),
    "a key without a value": (["SEED"], r"pairs KEY VALUE; SEED has no value"),
    "an option among them": (
        ["SEED", "1", "--eval-only"],
        r"no key --eval-only; options come before the pairs KEY VALUE",
    ),
    "an equals sign": (["MODEL.DEVICE=cpu"], r"no key MODEL\.DEVICE=cpu; write MODEL\.DEVICE cpu, with a space"),
    "a no-break space in the key": (
        ["MODEL.DEVICE\u00a0", "cpu"],
        r"no key 'MODEL\.DEVICE\\xa0', but MODEL\.DEVICE, without the character that does not show",
    ),
    "a byte order mark": (["\ufeffSEED", "1"], r"no key '\\ufeffSEED', but SEED, without the character"),
    "a zero-width space": (["SE\u200bED", "1"], r"no key 'SE\\u200bED', but SEED, without the character"),
    "a word instead of a number": (
        ["SOLVER.MAX_EPOCH", "many"],
        r"SOLVER\.MAX_EPOCH cannot be 'many': give a whole number",
    ),
    "a fraction instead of a whole number": (["SOLVER.MAX_EPOCH", "7.5"], r"'7\.5': give a whole number"),
    "a whole number instead of any": (["SOLVER.BASE_LR", "1"], r"'1': give a number with a decimal point, like 1\.0"),
    "a number instead of a switch": (["TEST.FLIP.ENABLED", "1"], r"'1': give True or False"),
    "a number instead of text": (["MODEL.BACKBONE.DEPTH", "18"], r"'18': give text; .*two pairs of quotes"),
    "text instead of a list": (["DATASETS.NAMES", "Market1501"], r"'Market1501': give a list"),
    "a list that is nested too deeply": (["DATASETS.NAMES", "[" * 5000 + "]" * 5000], r"DATASETS\.NAMES cannot be"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_an_override_with(mistake):
    words, message = MISTAKES[mistake]
    with pytest.raises(UsageError, match=message) as caught:
        config_from(parsed(*words))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


FILES = {
    "unknown key": ("SOLVER:\n  MAX_EPOCHS: 7\n", r"bad\.yml: there is no key SOLVER\.MAX_EPOCHS; did you mean"),
    "a project's section": (
        "MODEL:\n  UNHEARD:\n    WORDS: 7\n",
        r"no key MODEL\.UNHEARD.*; a project's own keys are there once its code is imported \(--import MODULE\)",
    ),
    "wrong type": ("SOLVER:\n  MAX_EPOCH: many\n", r"bad\.yml: SOLVER\.MAX_EPOCH cannot be 'many': give a whole"),
    "no YAML": ("SOLVER: [1, \n", r"bad\.yml cannot be read as YAML"),
    "a tab": ("SOLVER:\n\tMAX_EPOCH: 7\n", r"bad\.yml cannot be read as YAML: .*line 2"),
    "a plain text": ("hello\n", r"bad\.yml is empty, or no mapping of keys to values"),
    "nothing in it": ("", r"bad\.yml is empty, or no mapping of keys to values"),
    "a list": ("- SOLVER\n- MODEL\n", r"bad\.yml is empty, or no mapping of keys to values"),
    "no base file": ("_BASE_: bass.yml\n", r"config file .*bass\.yml does not exist"),
    "two base files": ("_BASE_: [a.yml, b.yml]\n", r"_BASE_ must be the path of one file, got \['a\.yml', 'b\.yml'\]"),
    "itself as its base": ("_BASE_: bad.yml\n", r"_BASE_ goes in a circle: bad\.yml -> bad\.yml"),
    "a key twice": (
        "SEED: 1\nSOLVER:\n  MAX_EPOCH: 7\n\n  MAX_EPOCH: 9\n",
        r"bad\.yml: MAX_EPOCH is there twice, in lines 3 and 5: keep one",
    ),
    "a section twice": (
        "SOLVER:\n  MAX_EPOCH: 7\nTEST: {}\nSOLVER:\n  BASE_LR: 0.1\n",
        r"bad\.yml: SOLVER is there twice, in lines 1 and 4: keep one",
    ),
    "a whole name instead of a section": (
        "MODEL.DEVICE: cpu\n",
        r"no key MODEL\.DEVICE; in a file, DEVICE stands in the section MODEL",
    ),
    "a dash in a key": ("MODEL:\n  DEVICE-1: cpu\n", r"no key MODEL\.DEVICE-1; did you mean MODEL\.DEVICE\?"),
    "a no-break space in a key": ("MODEL:\n  DEVICE\u00a0: cpu\n", r"no key 'MODEL\.DEVICE\\xa0', but MODEL\.DEVICE"),
    "a number as a key": ("7: 8\n", r"there is no key 7"),
    "a value for a section": ("SOLVER: 5\n", r"bad\.yml: SOLVER is a section of keys and cannot be 5"),
    "keys below a key": ("SOLVER:\n  BASE_LR:\n    FACTOR: 5\n", r"SOLVER\.BASE_LR is a key and has no keys .*FACTOR"),
    "a list that is nested too deeply": (f"SEED: {'[' * 5000}{']' * 5000}\n", r"bad\.yml .*nested too deeply"),
    "a date": ("SEED: 2024-01-01\n", r"bad\.yml: SEED cannot be datetime"),
    "a number of too many digits": (f"SEED: {'9' * 5000}\n", r"bad\.yml"),
    "a tag of Python's": ("SEED: !!python/object/apply:os.getcwd []\n", r"bad\.yml cannot be read as YAML"),
    "a wrong setting": ("SOLVER:\n  BASE_LR: -1.0\n", r"SOLVER\.BASE_LR must be a number greater than 0, got -1\.0"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", FILES)
def test_a_config_file_with(tmp_path, mistake):
    text, message = FILES[mistake]
    (tmp_path / "bad.yml").write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        config_from(parsed("--config-file", tmp_path / "bad.yml"))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_mistake_in_a_base_file_names_that_file(mine):
    mine.with_name("base.yml").write_text("SOLVER:\n  MAX_EPOCHS: 7\n")
    with pytest.raises(UsageError, match=r"base\.yml: there is no key SOLVER\.MAX_EPOCHS"):
        config_from(parsed("--config-file", mine))


def test_a_circle_of_base_files_is_named(tmp_path):
    for name, base in (("a", "b"), ("b", "c"), ("c", "a")):
        (tmp_path / f"{name}.yml").write_text(f"_BASE_: {base}.yml\n")
    with pytest.raises(UsageError, match=r"circle: a\.yml -> b\.yml -> c\.yml -> a\.yml"):
        config_from(parsed("--config-file", tmp_path / "a.yml"))


def test_a_missing_config_file_gets_the_nearest_name(mine):
    with pytest.raises(UsageError, match=r"min\.yml does not exist; did you mean .*mine\.yml\?"):
        config_from(parsed("--config-file", mine.with_name("min.yml")))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes in the file system")
def test_a_pipe_and_a_folder_are_no_config_files(tmp_path):
    os.mkfifo(tmp_path / "pipe.yml")
    with pytest.raises(UsageError, match=r"pipe\.yml is no regular file"):
        config_from(parsed("--config-file", tmp_path / "pipe.yml"))
    with pytest.raises(UsageError, match=r"Is a directory"):
        config_from(parsed("--config-file", tmp_path))


def test_a_configuration_is_found_by_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("MDPR/duke_r50.yml", "configs/MDPR/duke_r50.yml"):
        cfg = get_cfg()
        cfg.merge_from_file(config_file(name))
        assert cfg.MODEL.META_ARCHITECTURE == "MDPR"
        assert config_from(parsed("--config-file", name)).DATASETS.NAMES == ("DukeMTMC",)
    Path("MDPR").mkdir()
    Path("MDPR/duke_r50.yml").write_text("MODEL: {DEVICE: cpu}")
    assert config_file("MDPR/duke_r50.yml") == "MDPR/duke_r50.yml"
    assert config_file("none.yml") == "none.yml"


def test_only_what_a_model_needs_is_checked_where_only_a_model_is_built():
    words = ["DATASETS.TESTS", "('Unknown',)", "SOLVER.BASE_LR", "-1.0", "TEST.METRIC", "cosin"]
    args = Namespace(config_file="", opts=words)
    assert config_from(args, parts=("model",)).SOLVER.BASE_LR == -1
    with pytest.raises(UsageError, match=r"SOLVER\.BASE_LR must be"):
        config_from(args)


def test_evaluation_asks_nothing_of_the_settings_of_training():
    assert config_from(parsed("--eval-only", "DATASETS.NAMES", "('Unknown',)", "SOLVER.MAX_EPOCH", "0"))
    with pytest.raises(UsageError, match=r"DATASETS\.TESTS: nothing is registered as 'Unknown'"):
        config_from(parsed("--eval-only", "DATASETS.TESTS", "('Unknown',)"))
