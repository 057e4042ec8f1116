"""What another process unpickles of FastReID's is mended there before it is imported."""

import os
import pickle
import pickletools
import subprocess
import sys
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import pytest
from fastreid.config import CfgNode
from fastreid.data import CommDataset
from fastreid.data.build import fast_batch_collator
from fastreid.data.transforms import ToTensor
from fastreid.engine import DefaultTrainer, hooks

OBJECTS = [CommDataset, fast_batch_collator, DefaultTrainer, hooks.EvalHook, ToTensor(), CfgNode({"A": 1})]


@pytest.mark.parametrize("sent", OBJECTS, ids=lambda sent: getattr(sent, "__name__", type(sent).__name__))
def test_our_package_is_named_before_any_module_of_fastreid(sent):
    data = bytes(ForkingPickler.dumps(sent))
    names = [arg for _, arg, _ in pickletools.genops(data) if isinstance(arg, str)]
    first = next(name for name in names if "fastreid" in name)
    assert first.startswith("mdpr_fastreid.compat")
    received = pickle.loads(data)
    assert received is sent or type(received) is type(sent)


def test_pickles_for_the_disk_stay_free_of_us():
    assert b"mdpr" not in pickle.dumps(CommDataset)


def test_a_local_class_is_refused_as_ever():
    local = type("Local", (), {"__module__": "fastreid.data.common"})
    with pytest.raises((pickle.PicklingError, AttributeError)):
        ForkingPickler.dumps(local)


def test_spawned_workers_of_a_parent_without_a_script_load_batches(tmp_path):
    code = """
import mdpr_fastreid, os
import numpy as np
from PIL import Image
from fastreid.data import CommDataset, build_reid_train_loader
from fastreid.data.samplers import TrainingSampler
from fastreid.data.transforms import ToTensor
path = os.path.join(os.environ["FOLDER"], "0.png")
Image.fromarray(np.full((4, 2, 3), 7, np.uint8)).save(path)
dataset = CommDataset([(path, pid, 0) for pid in range(4)], ToTensor())
loader = build_reid_train_loader(dataset, sampler=TrainingSampler(4), total_batch_size=4, num_workers=1)
loader.multiprocessing_context = "spawn"
batches = iter(loader)
print(next(batches)["images"].mean().item(), sorted(next(batches)["targets"].tolist()))
batches.close()
"""
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "FOLDER": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout.splitlines()[-1:] == ["7.0 [0, 1, 2, 3]"], done.stderr
