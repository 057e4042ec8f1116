"""FastReID's loader without CUDA; the plugin's own trainer has loaders of its own, see ``data/loaders.py``."""

from typing import Any

import torch

from mdpr_fastreid.compat.patching import Patch


def _without_cuda(_: type) -> type:
    from mdpr_fastreid.data.loaders import PrefetchLoader

    class DataLoaderX(PrefetchLoader):
        """Prefetches in a thread; batches stay on the CPU.

        Args:
            local_rank: accepted for the stock signature.
            kwargs: of ``torch.utils.data.DataLoader``; memory is not pinned.
        """

        def __init__(self, local_rank: int = 0, **kwargs: Any) -> None:
            super().__init__(**{**kwargs, "pin_memory": False})
            self.local_rank = local_rank

    return DataLoaderX


PATCHES = (
    Patch(
        target="fastreid.data.data_utils:DataLoaderX",
        fixes="No loader can be built on a machine without CUDA, whose streams it prefetches through.",
        since="every version, without CUDA",
        until="FastReID's loader asks whether there is a CUDA device",
        source="1fb5c81cd5f9",
        make=_without_cuda,
        needed=lambda: not torch.cuda.is_available(),
    ),
)
