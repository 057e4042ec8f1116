"""Weights that are evaluated have to be those of the model: a network that is partly random still gives a table."""

from typing import Any

from fastreid.utils.checkpoint import Checkpointer
from torch import nn

from mdpr_fastreid.errors import UsageError


def load_for_evaluation(model: nn.Module, path: str) -> None:
    """Load ``MODEL.WEIGHTS`` and make sure that nothing the model needs is left as it was initialised.

    A classifier for another number of identities is left out: it does not reach the features.

    Args:
        model: what is evaluated.
        path: the weight file.

    Raises:
        UsageError: the file cannot be read, or lacks weights of the model, or has them in another shape.
    """
    _StrictCheckpointer(model, path=path).load(path)


class _StrictCheckpointer(Checkpointer):
    def __init__(self, model: nn.Module, path: str):
        super().__init__(model)
        self._path = path

    def _load_model(self, checkpoint: Any) -> Any:
        published = any(name.startswith("generate.backbone") for name in checkpoint["model"])
        incompatible = super()._load_model(checkpoint)
        classifiers = {
            name
            for name, given, needed in incompatible.incorrect_shapes
            if len(given) == len(needed) == 2 and given[1:] == needed[1:]
        }
        missing = [
            name
            for name in incompatible.missing_keys
            if name not in classifiers and not name.endswith("num_batches_tracked")
        ]
        if missing:
            more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            hint = (
                "these are the published MDPR's names, which `mdpr convert` translates"
                if published
                else ("give the config that these weights were trained with")
            )
            raise UsageError(
                f"{self._path}: does not fit the model, which needs {', '.join(missing[:3])}{more} "
                f"(missing, or of another shape); {hint}"
            )
        # What a classifier of other identities says for each head is of no use to who wants features
        incompatible.missing_keys[:] = [name for name in incompatible.missing_keys if name not in classifiers]
        incompatible.incorrect_shapes[:] = [
            (name, *shapes) for name, *shapes in incompatible.incorrect_shapes if name not in classifiers
        ]
        return incompatible
