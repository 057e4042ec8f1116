"""``mdpr prepare`` tells what is here and whole, and fetches only what anyone may fetch."""

import hashlib
import re
import shlex
from pathlib import Path

import pytest
import torch
from fastreid.config import get_cfg
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.modeling.backbones.resnet import model_urls
from support.image_trees import market_tree, write_images
from support.settings import small_config
from support.video_trees import mars_tree

from mdpr_fastreid.cli import main
from mdpr_fastreid.config import read_config
from mdpr_fastreid.data import sources
from mdpr_fastreid.data.datasets.counts import Count, TrackletCount
from mdpr_fastreid.data.sources import DATA_SOURCES, WEIGHT_SOURCES
from mdpr_fastreid.data.synth import PRESETS, ensure
from mdpr_fastreid.modeling.backbones import build_timm_backbone
from mdpr_fastreid.weights import integrity

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "checkpoints"


@pytest.fixture
def prepare(tmp_path, capsys):
    def run(*words):
        code = main(["prepare", *words, "--root", str(tmp_path)])
        captured = capsys.readouterr()
        assert captured.err.count("\n") <= 1 or "%" in captured.err
        return code, captured.out, captured.err

    return run


def test_without_a_name_everything_is_listed_with_its_state(tmp_path, prepare):
    market_tree(tmp_path / "Market-1501-v15.09.15")
    code, out, _ = prepare()
    assert code == 0
    states = {line.split()[0]: line for line in out.splitlines() if line}
    assert {source.name for source in (*DATA_SOURCES, *WEIGHT_SOURCES)} <= states.keys()
    assert " incomplete " in states["Market1501"]
    assert " missing " in states["MSMT17V2"]
    assert " missing " in states["luperson-r50"]


def test_every_set_of_the_catalogue_is_registered_and_says_where_it_is_from():
    for source in DATA_SOURCES:
        assert DATASET_REGISTRY.get(source.name)
        assert source.paper
        assert source.terms
        assert source.page or "withdrawn" in source.terms


def test_what_pretrain_true_takes_is_what_the_toolbox_names():
    free = {source.url for source in WEIGHT_SOURCES if "what PRETRAIN True takes" in source.backbone}
    wanted = {url for key, url in model_urls.items() if not key.startswith("se_")}
    assert free == wanted


def test_weights_of_transformers_have_terms_a_page_and_a_model_that_is_built(prepare):
    named = [source for source in WEIGHT_SOURCES if source.model]
    assert {source.name.partition("-")[0] for source in named} == {"solider", "transreid", "personvit", "clipreid"}
    for source in named:
        assert not source.url, "from their authors only"
        assert source.page.startswith("https://github.com/")
        assert "LUPerson's images, which are for research" in source.terms or source.name == "clipreid-vit-base"
        cfg = small_config(
            *("MODEL.BACKBONE.NAME", "build_timm_backbone", "MODEL.BACKBONE.TIMM.MODEL", source.model),
            *("MODEL.BACKBONE.TIMM.ARGS", ("embed_dim", 24, "num_heads", 1) if "vit" in source.name else ()),
        )
        fits = read_config(f"configs/{source.config}", parts=("model",)).MODEL.BACKBONE
        if "ics" not in source.name:
            assert fits.TIMM.MODEL.partition(".")[0] == source.model
        if source.name.startswith(("solider", "personvit")):
            assert f"pretrained/{source.file}" == fits.PRETRAIN_PATH
        if "base" not in source.name:
            assert build_timm_backbone(cfg).reading.name == source.model
    _, out, _ = prepare("solider-swin-small")
    assert "MODEL.BACKBONE.NAME build_timm_backbone MODEL.BACKBONE.TIMM.MODEL solider_swin_small MODEL.BACKBONE." in out
    assert "configs/Baselines/solider-s_market1501.yml has the size, the pixels and the head that fit" in out
    assert "solider-swin-small is not downloaded" in prepare("solider-swin-small", "--download")[2]


def test_every_set_that_the_docs_list_is_known(prepare):
    page = (ROOT / "docs/reference/datasets.md").read_text()
    papers = page.split("## Data sets of the papers")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in papers.splitlines() if line.startswith("| `")]
    names = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert {"MSMT17", "MSMT17V1", "OccludedDuke"} <= set(names)
    for name in names:
        assert prepare(name)[1].startswith(f"{name}: ")


def test_msmt17_is_found_in_either_version(tmp_path, prepare):
    assert f"place    {tmp_path / 'MSMT17_V1'}" in prepare("MSMT17")[1]
    (tmp_path / "MSMT17_V2").mkdir()
    assert f"place    {tmp_path / 'MSMT17_V2'}" in prepare("MSMT17")[1]


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("Market1501", """DATASETS.NAMES '("Market1501",)' DATASETS.TESTS '("Market1501",)'"""),
        ("SynthReIDTiny", """DATASETS.NAMES '("SynthReIDTiny",)' DATASETS.TESTS '("SynthReIDTiny",)'"""),
        ("OccludedReID", """DATASETS.TESTS '("OccludedReID",)'"""),
        ("luperson-r50", "MODEL.BACKBONE.PRETRAIN True MODEL.BACKBONE.PRETRAIN_PATH "),
    ],
)
def test_the_setting_works_as_it_is_printed(prepare, name, setting):
    assert f"  setting  {setting}" in prepare(name)[1]
    if not setting.startswith("MODEL"):
        words = shlex.split(setting)
        cfg = get_cfg()
        cfg.merge_from_list(words)
        assert tuple(cfg.DATASETS.TESTS) == (name,)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("market", "did you mean Market1501?"),
        ("CUHK03", "did you mean CUHK03Labeled or CUHK03Detected?"),
        ("luperson", "did you mean luperson-r50 or luperson-r101-ibn?"),
        ("qqq", "of 'qqq'; `mdpr prepare` lists all"),
    ],
)
def test_a_part_of_a_name_leads_to_those_that_have_it(prepare, name, hint):
    code, _, error = prepare(name)
    assert (code, hint in error) == (2, True), error


def test_what_may_not_be_read_is_a_state_not_an_end(tmp_path, prepare, home, monkeypatch):
    """As for anybody but root, who runs tests in containers."""
    market_tree(tmp_path / "Occluded_Duke")
    home.mkdir(parents=True)
    (home / "lup_moco_r50.pth").write_bytes(b"x")

    def refuse(path, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    monkeypatch.setattr(integrity, "open", refuse, raising=False)
    code, out, _ = prepare()
    states = {line.split()[0]: line for line in out.splitlines() if line}
    assert code == 0
    assert " incomplete " in states["OccludedDuke"]
    assert " damaged " in states["luperson-r50"]


@pytest.mark.parametrize("name", ["occluded-duke", "OccludedDuke", "Occluded Duke"])
def test_a_set_that_is_missing_tells_paper_page_terms_and_place(tmp_path, prepare, name):
    code, out, _ = prepare(name)
    assert code == 1
    for part in ("ICCV 2019", "https://github.com/lightas/", "DukeMTMC-reID's terms", "state    missing"):
        assert part.replace("DukeMTMC-reID's terms", "DukeMTMC-reID, so that one's terms") in out
    assert str(tmp_path / "Occluded_Duke") in out


def test_a_set_is_complete_when_its_images_are_as_many_as_published(tmp_path, prepare, monkeypatch):
    market_tree(tmp_path / "Occluded_Duke")
    code, out, _ = prepare("OccludedDuke")
    assert code == 1
    assert "train: 8 images of 2 identities here, 15,618 images of 702 identities as published" in out
    counts = {"train": Count(2, 8), "query": Count(2, 4), "gallery": Count(2, 4)}
    monkeypatch.setattr(DATASET_REGISTRY.get("OccludedDuke"), "published", counts)
    code, out, _ = prepare("OccludedDuke")
    assert (code, "state    complete" in out) == (0, True)
    assert "query: 4 images of 2 identities, as published" in out


def test_images_that_a_list_names_and_that_are_not_there_are_told(tmp_path, prepare):
    folder = tmp_path / "MSMT17_V1"
    name = "0000/0000_000_01_0303morning_0015_0.jpg"
    write_images(folder / "test", [name])
    (folder / "train").mkdir()
    for part in ("train", "query", "gallery"):
        (folder / f"list_{part}.txt").write_text(f"{name} 0\n")
    code, out, _ = prepare("MSMT17V1")
    assert code == 1
    assert f"train: 1 images are missing, the first one {folder / 'train' / name}" in out


def test_a_set_in_pieces_says_what_is_missing(tmp_path, prepare):
    (tmp_path / "Occluded_Duke" / "query").mkdir(parents=True)
    code, out, _ = prepare("OccludedDuke")
    assert (code, "state    incomplete" in out, "bounding_box_train is not there" in out) == (1, True, True)


def test_weights_are_whole_if_their_hash_is_the_one_in_their_name(prepare, home, monkeypatch):
    content = b"weights"
    name = f"resnet50-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    source = next(s for s in WEIGHT_SOURCES if s.name == "resnet50")._replace(file=name)
    monkeypatch.setattr(sources, "WEIGHT_SOURCES", (source,))
    home.mkdir(parents=True)
    (home / name).write_bytes(content)
    code, out, _ = prepare("resnet50")
    assert (code, "state    complete" in out, hashlib.sha256(content).hexdigest() in out) == (0, True, True)
    (home / name).write_bytes(content[:-1])
    code, out, _ = prepare("resnet50")
    assert (code, "state    damaged" in out, "another file, or a part of it" in out) == (1, True, True)
    assert "get it   delete it, then mdpr prepare resnet50 --download" in out


def test_weights_without_a_published_hash_are_read(prepare, home):
    home.mkdir(parents=True)
    torch.save({"state_dict": {"module.encoder_q.conv1.weight": torch.zeros(3)}}, home / "lup_moco_r50.pth")
    code, out, _ = prepare("luperson-r50")
    assert (code, "state    unverified" in out, "1 tensors; no hash is published" in out) == (0, True, True)
    (home / "lup_moco_r50.pth").write_text("<html>sign in</html>")
    code, out, _ = prepare("luperson-r50")
    assert (code, "state    damaged" in out, "not a file of torch.save" in out) == (1, True, True)


def test_a_download_is_fetched_and_compared(tmp_path, prepare, home, monkeypatch):
    (tmp_path / "server").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    source = next(s for s in WEIGHT_SOURCES if s.name == "resnet50")
    for digits, code in ((digest[:8], 0), ("12345678", 2)):
        mirror = source._replace(file=f"resnet50-{digits}.pth", url=(tmp_path / "server").as_uri())
        monkeypatch.setattr(sources, "WEIGHT_SOURCES", (mirror,))
        result, _, error = prepare("resnet50", "--download")
        assert result == code
        assert (home / mirror.file).exists() == (code == 0)
    assert 'invalid hash value (expected "12345678"' in error


def test_without_a_network_a_download_is_one_line_with_the_place(prepare, home, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    code, _, error = prepare("resnet50-ibn", "--download")
    assert code == 2
    assert "cannot be fetched from https://github.com/XingangPan/IBN-Net/" in error
    assert f"put it at {home / 'resnet50_ibn_a-d9d0bb7b.pth'}" in error


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("msmt17v1", "MSMT17V1 is not downloaded, as its terms are its authors' to give: https://www.pkuvmc.com"),
        ("dukemtmc", "DukeMTMC is not downloaded, as its terms are its authors' to give: no page"),
        ("luperson-r50", "luperson-r50 is not downloaded, as its terms are its authors' to give: https://github.com/D"),
        ("synthreid-demo", "SynthReIDDemo is rendered, not downloaded: mdpr synth --preset demo"),
        ("resnet5", "nothing is known of 'resnet5'; did you mean resnet50"),
    ],
)
def test_nothing_else_is_downloaded(prepare, monkeypatch, name, message):
    monkeypatch.setattr(torch.hub, "download_url_to_file", None)
    code, out, error = prepare(name, "--download")
    assert (code, out) == (2, "")
    assert message in error


def test_a_rendered_set_is_compared_with_its_manifest(tmp_path, prepare):
    folder = ensure(tmp_path, PRESETS["tiny"], size=(32, 16))
    code, out, _ = prepare("SynthReIDTiny")
    assert (code, "every file has the hash that it was rendered with" in out) == (0, True)
    first, second, *_ = (folder / "query").iterdir()
    first.write_bytes(second.read_bytes())
    code, out, _ = prepare("SynthReIDTiny")
    assert (code, "state    damaged" in out, "query are not what was rendered" in out) == (1, True, True)
    first.unlink()
    code, out, _ = prepare("SynthReIDTiny")
    assert (code, "state    incomplete" in out, "query: 31 images of 32" in out) == (1, True, True)
    (folder / "manifest.json").write_text("{")
    assert "state    damaged" in prepare("SynthReIDTiny")[1]


def test_a_set_of_tracklets_is_counted_and_its_missing_frames_are_told(tmp_path, prepare, monkeypatch):
    folder = mars_tree(tmp_path)
    code, out, _ = prepare("mars")
    assert (code, "train: 3 tracklets of 2 identities here, 8,298 tracklets of 625 identities" in out) == (1, True)
    counts = {"train": TrackletCount(2, 3), "query": TrackletCount(2, 3), "gallery": TrackletCount(3, 6)}
    monkeypatch.setattr(DATASET_REGISTRY.get("MARS"), "published", counts)
    code, out, _ = prepare("MARS")
    assert (code, "gallery: 6 tracklets of 3 identities, as published" in out) == (0, True)
    (folder / "bbox_test/0007/0007C2T0002F003.jpg").unlink()
    code, out, _ = prepare("MARS")
    assert (code, "gallery: 1 images are missing" in out, "0007C2T0002F003.jpg" in out) == (1, True, True)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("MARS", ("ECCV 2016", "https://github.com/liangzheng06/", "as its authors' page says")),
        ("DukeMTMC-VideoReID", ("CVPR 2018", "withdrawn by their authors", "it is not given out any more")),
        ("VeRi-776", ("https://github.com/JDAI-CV/VeRidataset", "to those who ask and agree")),
    ],
)
def test_video_sets_tell_paper_page_and_terms(prepare, name, words):
    code, out, _ = prepare(name)
    assert (code, "state    missing" in out) == (1, True)
    assert all(word in out for word in words), out


def test_every_rendered_set_is_known(prepare):
    for name in ("SynthReIDClipsTiny", "SynthReIDClips", "SynthReIDVideo"):
        assert "by itself when it is first used" in prepare(name)[1]
