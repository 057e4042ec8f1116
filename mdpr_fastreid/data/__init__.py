"""The way of a batch, from the files of a data set to the tensors a model is called with; see ``pipeline``."""

from mdpr_fastreid.data import clips  # noqa: F401  (registers the field)
from mdpr_fastreid.data.build import build_test_loader, build_train_loader, training_set
from mdpr_fastreid.data.fields import FIELD_REGISTRY, Field
from mdpr_fastreid.data.items import Item
from mdpr_fastreid.data.loaders import start_epoch
from mdpr_fastreid.data.samplers import SAMPLER_REGISTRY, SeededSampler

__all__ = [
    "FIELD_REGISTRY",
    "SAMPLER_REGISTRY",
    "Field",
    "Item",
    "SeededSampler",
    "build_test_loader",
    "build_train_loader",
    "start_epoch",
    "training_set",
]
