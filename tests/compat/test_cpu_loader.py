"""FastReID's own loaders, for its own trainer, on a machine without CUDA."""

import pytest
import torch
from fastreid.data import build as data_build
from fastreid.data import build_reid_test_loader, build_reid_train_loader, data_utils
from small_runs import small_config

from mdpr_fastreid.compat import patches, stock
from mdpr_fastreid.compat.patching import State
from mdpr_fastreid.data.loaders import PrefetchLoader

TARGET = "fastreid.data.data_utils:DataLoaderX"


@pytest.mark.skipif(torch.cuda.is_available(), reason="FastReID's own loader works where there is CUDA")
def test_fastreids_builders_give_batches_without_cuda(tmp_path):
    assert issubclass(data_utils.DataLoaderX, PrefetchLoader) and data_build.DataLoaderX is data_utils.DataLoaderX
    assert not issubclass(stock(TARGET), PrefetchLoader)
    batch = next(iter(build_reid_train_loader(small_config(tmp_path))))
    assert batch["images"].shape == (64, 3, 32, 16) and batch["images"].device.type == "cpu"
    loader, queries = build_reid_test_loader(small_config(tmp_path), dataset_name="SynthReIDTiny")
    assert (queries, len(loader.dataset)) == (32, 232)
    loader.shutdown()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.gpu
def test_the_loader_is_fastreids_own_where_there_is_cuda():
    (patch,) = [patch for patch in patches() if patch.target == TARGET]
    assert patches().state(patch) is State.NOT_NEEDED
    assert data_build.DataLoaderX is stock(TARGET)
