"""The sheet of parts and the curves, from the command line."""

import json
import sys

import numpy as np
import pytest
import torch
from drop.pictures import parts_sheet
from drop.pictures.curves import evaluations
from PIL import Image
from small_drop import CONFIG, PROJECT, small

from mdpr_fastreid.modeling import build_model

sys.path.insert(0, str(PROJECT))

import look


@pytest.fixture
def weights(tmp_path):
    torch.save({"model": build_model(small()).state_dict()}, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def test_the_sheet_has_a_column_for_image_prediction_and_truth(tmp_path, weights, capsys):
    sizes = [
        "INPUT.SIZE_TRAIN",
        "[64, 32]",
        "INPUT.SIZE_TEST",
        "[64, 32]",
        "DATASETS.TESTS",
        "('SynthReIDOccludedTiny',)",
        "INPUT.MASK.GROUPS",
        "synthreid_five",
    ]
    model = ["MODEL.DROP.EMBEDDING_DIM", "16", "MODEL.DROP.DPU.CHANNELS", "16", "MODEL.DROP.PCT.BANK_SIZE", "40"]
    overrides = [*sizes, *model, "MODEL.HEADS.NUM_CLASSES", "16"]
    words = ["parts", "--config-file", str(CONFIG), "--weights", str(weights), "--images", "5"]
    assert look.main([*words, "--output", str(tmp_path / "parts.png"), *overrides]) == 0
    sheet = Image.open(tmp_path / "parts.png")
    assert sheet.width > sheet.height > 2 * 128
    assert f"wrote {tmp_path / 'parts.png'}" in capsys.readouterr().out


def test_predicted_parts_are_in_their_colours_beside_the_true_ones():
    class Halves(torch.nn.Module):
        device = torch.device("cpu")

        def parts(self, images):
            upper = torch.zeros(len(images), 3, 8, 4)
            upper[:, 1, :4], upper[:, 0, 4:] = 1, 1
            return upper

    images, masks = torch.full((1, 3, 64, 32), 100.0), torch.full((1, 64, 32), 2, dtype=torch.uint8)
    pixels = np.asarray(parts_sheet(Halves(), images, masks, ("head", "legs")))
    top, bottom, cell = 18 + 20, 18 + 120, 68
    image, predicted, true = (pixels[[top, bottom], kind * cell + 30].tolist() for kind in range(3))
    assert image == [[100] * 3] * 2
    head, background = predicted
    assert background == [100] * 3 != head
    assert len({*map(tuple, true)} | {tuple(head)}) == 2


def test_curves_are_drawn_of_what_was_evaluated(tmp_path, capsys):
    lines = [
        {"iteration": 1, "loss_cls_whole": 2.0},
        {"iteration": 9, "mAP": 10.0, "Rank-1": 5.0, "mIoU": 20.0, "visibility F1": 60.0, "pixel accuracy": 70.0},
        {"iteration": 19, "mAP": 20.0, "Rank-1": 15.0},
    ]
    (tmp_path / "metrics.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert look.main(["curves", str(tmp_path), "--output", str(tmp_path / "curves.png")]) == 0
    assert Image.open(tmp_path / "curves.png").width > 900


def test_curves_are_those_of_the_last_training_and_the_first_set(tmp_path):
    def entry(iteration, score):
        return {"iteration": iteration, "A/mAP": score, "A/Rank-1": 1.0, "A/mIoU": 2.0, "B/mAP": 99.0, "B/Rank-1": 99.0}

    lines = [entry(9, 10.0), entry(19, 20.0), entry(9, 30.0), entry(19, 40.0)]
    (tmp_path / "metrics.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = evaluations(tmp_path)
    assert [(one["iteration"], one["mAP"], one["mIoU"]) for one in found] == [(9, 30.0, 2.0), (19, 40.0, 2.0)]
    assert look.main(["curves", str(tmp_path), "--output", str(tmp_path / "curves.png")]) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "give the OUTPUT_DIR of a training"), ("{}\n", "nothing was evaluated"), ("x\n", "is no log of metrics")],
)
def test_a_run_without_results_is_one_line(tmp_path, capsys, content, message):
    if content is not None:
        (tmp_path / "metrics.json").write_text(content)
    assert look.main(["curves", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
