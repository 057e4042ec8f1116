"""One camera has one number in training and in evaluation, where a model tells cameras apart."""

import itertools

import pytest
from PIL import Image
from small_runs import logged_by_fastreid, small_config, trained

from mdpr_fastreid.data import build_test_loader, build_train_loader
from mdpr_fastreid.errors import UsageError

CAMERAS = "MODEL.BACKBONE.TIMM.CAMERAS"


def images_of(root, train, test):
    """Four identities under these cameras, counted from 0."""
    for folder, cameras in (("bounding_box_train", train), ("query", test), ("bounding_box_test", test)):
        place = root / "Occluded_Duke" / folder
        place.mkdir(parents=True)
        for pid, camera in itertools.product((1, 2, 3, 4), cameras):
            name = f"{pid:04d}_c{camera + 1}s1_{camera:06d}_00.jpg"
            Image.new("RGB", (32, 64), (pid * 20, camera, 0)).save(place / name)


def config(root, monkeypatch, *overrides, names=("OccludedDuke",)):
    monkeypatch.setenv("FASTREID_DATASETS", str(root))
    vit = ["MODEL.BACKBONE.NAME", "build_timm_backbone", "MODEL.BACKBONE.TIMM.MODEL", "vit_tiny_patch16_224"]
    vit += ["MODEL.BACKBONE.TIMM.ARGS", ("depth", 2, "embed_dim", 24, "num_heads", 3), "MODEL.BACKBONE.FEAT_DIM", 24]
    size = ["INPUT.SIZE_TRAIN", [64, 32], "INPUT.SIZE_TEST", [64, 32], "SOLVER.IMS_PER_BATCH", 8]
    sets = ["DATASETS.NAMES", names, "DATASETS.TESTS", ("OccludedDuke",), "MODEL.HEADS.POOL_LAYER", "GlobalAvgPool"]
    return small_config(root / "logs", *vit, *size, *sets, *overrides)


def camera_in_pixels(dataset):
    """The cameras that the pictures show, and the numbers that the model gets, of all items."""
    samples = [dataset[index] for index in range(len(dataset))]
    shown = [int(sample["img_paths"].rpartition("_c")[2].split("s")[0]) - 1 for sample in samples]
    return shown, [sample["camids"] for sample in samples]


def test_a_camera_has_the_same_number_in_training_and_in_evaluation(tmp_path, monkeypatch):
    # As texts, 10 and 11 come before 2; camera 1 is missing in training
    images_of(tmp_path, (0, 2, 3, 10, 11), (0, 2, 10))
    cfg = config(tmp_path, monkeypatch, CAMERAS, 12)
    for dataset in (build_train_loader(cfg).dataset, build_test_loader(cfg, "OccludedDuke")[0].dataset):
        shown, given = camera_in_pixels(dataset)
        assert shown == given
    shown, given = camera_in_pixels(build_train_loader(config(tmp_path, monkeypatch)).dataset)
    assert dict(zip(shown, given, strict=True)) == {0: 0, 10: 1, 11: 2, 2: 3, 3: 4}  # FastReID's, for all other models


def test_a_camera_beyond_those_of_the_model_is_one_line(tmp_path, monkeypatch):
    images_of(tmp_path, (0, 7), (0, 8))
    with pytest.raises(UsageError, match="CAMERAS is 6, and the training set has a camera of number 7.*set it to 8"):
        build_train_loader(config(tmp_path, monkeypatch, CAMERAS, 6))
    with pytest.raises(UsageError, match="CAMERAS is 8, and OccludedDuke has a camera of number 8"):
        build_test_loader(config(tmp_path, monkeypatch, CAMERAS, 8), "OccludedDuke")


def test_cameras_of_several_training_sets_are_one_line(tmp_path, monkeypatch):
    images_of(tmp_path, (0, 1), (0, 1))
    cfg = config(tmp_path, monkeypatch, CAMERAS, 6, names=("OccludedDuke", "SynthReIDTiny"))
    with pytest.raises(UsageError, match=r"several training sets \(occludedduke, .* have the same numbers"):
        build_train_loader(cfg)


def test_a_test_camera_that_no_training_image_is_of_is_one_line_before_training(tmp_path, monkeypatch):
    images_of(tmp_path, (0, 1), (0, 2))
    with pytest.raises(UsageError, match=r"OccludedDuke has camera 2, and no training image is of it.*cameras 0, 1"):
        trained(config(tmp_path, monkeypatch, CAMERAS, 6))


def test_a_training_goes_on_and_its_cameras_are_evaluated(tmp_path, monkeypatch):
    images_of(tmp_path, (0, 2, 10), (0, 2, 10))
    overrides = (CAMERAS, 11, "TEST.FLIP.ENABLED", True, "DATALOADER.NUM_INSTANCE", 2, "SOLVER.MAX_EPOCH")
    trained(config(tmp_path, monkeypatch, *overrides, 1))
    with logged_by_fastreid() as messages:
        first = trained(config(tmp_path, monkeypatch, *overrides, 2), resume=True)
    assert any("Starting training from epoch 1" in message for message in messages)
    assert first._last_eval_results["mAP"] > 0
