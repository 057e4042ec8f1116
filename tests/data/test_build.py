"""Loaders of a config: where data is looked for, and errors instead of a hang."""

import itertools

import pytest
from PIL import Image
from small_runs import small_config

from mdpr_fastreid.data import build_test_loader, build_train_loader
from mdpr_fastreid.errors import UsageError


def market_folder(root, pids=(1, 2, 3, 4), images=4):
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        (root / "Market-1501-v15.09.15" / folder).mkdir(parents=True)
        for pid, i in itertools.product(pids, range(images)):
            name = f"{pid:04d}_c{i % 6 + 1}s1_{i:06d}_00.jpg"
            Image.new("RGB", (8, 16), (pid * 20, i, 0)).save(root / "Market-1501-v15.09.15" / folder / name)


def market_config(tmp_path, *options):
    names = ["DATASETS.NAMES", ("Market1501",), "DATASETS.TESTS", ("Market1501",), "SOLVER.IMS_PER_BATCH", 8]
    return small_config(tmp_path, *names, *options)


def test_the_data_root_is_read_when_a_loader_is_built(tmp_path, monkeypatch):
    for number in (1, 2):
        market_folder(tmp_path / str(number), images=3 + number)
        monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / str(number)))
        assert len(build_train_loader(market_config(tmp_path)).dataset) == 4 * (3 + number)
        loader, num_query = build_test_loader(market_config(tmp_path), dataset_name="Market1501")
        assert num_query == 4 * (3 + number)
        assert len(loader.dataset) == 2 * num_query


@pytest.mark.parametrize("build", ["train", "test"])
def test_a_missing_folder_names_the_set_the_folder_and_the_variable(tmp_path, monkeypatch, build):
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "nowhere"))
    builder, names = {
        "train": (build_train_loader, {}),
        "test": (build_test_loader, {"dataset_name": "Market1501"}),
    }[build]
    with pytest.raises(UsageError) as caught:
        builder(market_config(tmp_path), **names)
    for part in ("Market1501", str(tmp_path / "nowhere"), "FASTREID_DATASETS"):
        assert part in str(caught.value)


def test_an_unknown_set_gets_the_nearest_name(tmp_path):
    with pytest.raises(UsageError, match=r"'Market1510' in DATASET; did you mean Market1501\?"):
        build_train_loader(market_config(tmp_path, "DATASETS.NAMES", ("Market1510",)))


def test_an_image_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    market_folder(tmp_path)
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    bad = tmp_path / "Market-1501-v15.09.15/query/0001_c1s1_000000_00.jpg"
    bad.write_bytes(bad.read_bytes()[:200])
    loader, _ = build_test_loader(market_config(tmp_path), dataset_name="Market1501")
    with pytest.raises(UsageError, match=r"0001_c1s1_000000_00\.jpg: cannot be read as an image"):
        list(loader)


@pytest.mark.parametrize(("configured", "expected"), [(0, 0), (1, 1), (9, 4)])
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_the_test_loader_has_no_more_workers_than_configured(tmp_path, configured, expected):
    cfg = small_config(tmp_path, "DATALOADER.NUM_WORKERS", configured)
    loader, _ = build_test_loader(cfg, dataset_name="SynthReIDTiny")
    assert loader.num_workers == expected
