"""Weight files are read without running code, and a bad one is named."""

import collections
import os

import numpy as np
import pytest
import torch
from fastreid.utils.checkpoint import Checkpointer
from small_runs import logged_by_fastreid
from support.bad_weight_files import Harmful, truncated
from torch import nn

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.weights import load_weight_file


def test_plain_values_counters_and_arrays_are_read(tmp_path):
    stored = {
        "model": {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "mask": np.array([True])},
        "metric": np.float64(12.5),
        "epoch": np.int64(3),
        "milestones": collections.Counter([30, 55]),
        "order": collections.OrderedDict(a=torch.ones(2)),
    }
    torch.save(stored, tmp_path / "stock.pth")
    read = load_weight_file(tmp_path / "stock.pth")
    assert (read["metric"], read["epoch"], read["milestones"]) == (12.5, 3, stored["milestones"])
    np.testing.assert_array_equal(read["model"]["weight"], stored["model"]["weight"])


def test_a_state_of_numpy_arrays_is_loaded_into_a_model(tmp_path):
    model = nn.Linear(3, 2)
    torch.save({"model": {"weight": np.ones((2, 3), np.float32), "bias": np.zeros(2, np.float32)}}, tmp_path / "a.pth")
    Checkpointer(model).load(str(tmp_path / "a.pth"))
    assert model.weight.eq(1).all()


def test_a_file_with_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Harmful()}, "harmful.pth")
    with pytest.raises(UsageError, match=r"harmful\.pth: holds more than weights"):
        Checkpointer(nn.Linear(1, 1)).load("harmful.pth")
    assert not os.path.exists("run-by-a-pickle")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.95])
def test_a_truncated_checkpoint_is_named(tmp_path, share):
    path = tmp_path / "model_final.pth"
    torch.save({"model": {"weight": torch.rand(100, 100)}}, path)
    with pytest.raises(UsageError, match=r"model_final\.pth: is truncated"):
        Checkpointer(nn.Linear(1, 1)).load(str(truncated(path, share)))


def test_a_file_of_something_else_is_named(tmp_path):
    (tmp_path / "notes.pth").write_text("not weights")
    with pytest.raises(UsageError, match=r"notes\.pth: is truncated or not a file of torch\.save"):
        load_weight_file(tmp_path / "notes.pth")


def test_without_a_checkpoint_nothing_is_claimed_of_where_the_weights_are_from(tmp_path):
    with logged_by_fastreid() as messages:
        assert Checkpointer(nn.Linear(2, 2), str(tmp_path)).resume_or_load("", resume=True) == {}
    assert [message for message in messages if "scratch" in message] == []
    assert any("No checkpoint: training begins with its first iteration" in message for message in messages)


def test_a_missing_checkpoint_is_named_with_its_key(tmp_path):
    with pytest.raises(UsageError, match=r"none\.pth: no such weight file \(MODEL\.WEIGHTS"):
        Checkpointer(nn.Linear(1, 1)).load(str(tmp_path / "none.pth"))
