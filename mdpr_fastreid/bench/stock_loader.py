"""FastReID's own input pipeline, which ours is compared with: the same batches from the same seed."""

import warnings

import torch
import torchvision.transforms as T
from fastreid.config import CfgNode
from fastreid.data import build_reid_train_loader
from fastreid.data.build import fast_batch_collator
from fastreid.data.common import CommDataset
from fastreid.data.transforms import build_transforms
from fastreid.data.transforms.transforms import ToTensor
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from mdpr_fastreid.compat import stock
from mdpr_fastreid.data.loaders import PrefetchLoader

_TO_TENSOR = stock("fastreid.data.transforms.functional:to_tensor")


class StockToTensor(ToTensor):
    """FastReID's transform, with its function as it was before it was patched."""

    def __call__(self, pic) -> torch.Tensor:
        with warnings.catch_warnings():
            # It goes through a type that PyTorch is going to drop
            warnings.filterwarnings("ignore", message="TypedStorage is deprecated")
            return _TO_TENSOR(pic)


def stock_transforms(cfg: CfgNode) -> T.Compose:
    """FastReID's transforms for training."""
    steps = build_transforms(cfg, is_train=True).transforms
    return T.Compose([StockToTensor() if isinstance(step, ToTensor) else step for step in steps])


def stock_loader(cfg: CfgNode, items: list[tuple]) -> DataLoader:
    """FastReID's training loader, which reads every image once, in order.

    Args:
        cfg: the config; ``MODEL.DEVICE`` says where the batches go.
        items: ``(path, identity, camera)``.
    """
    dataset = CommDataset(items, stock_transforms(cfg), relabel=True)
    sampler = SequentialSampler(dataset)
    if torch.device(cfg.MODEL.DEVICE).type == "cuda":
        return build_reid_train_loader(cfg, train_set=dataset, sampler=sampler)
    return PrefetchLoader(  # FastReID's own cannot leave batches on the CPU
        dataset=dataset,
        batch_sampler=BatchSampler(sampler, cfg.SOLVER.IMS_PER_BATCH, drop_last=True),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=fast_batch_collator,
    )
