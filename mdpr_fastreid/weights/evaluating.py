"""Weights that are evaluated have to be those of the model: a network that is partly random still gives a table."""

import logging

from fastreid.utils.file_io import PathManager
from torch import nn

from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.weights.files import read_checkpoint
from mdpr_fastreid.weights.integrity import check_sha256
from mdpr_fastreid.weights.loading import cameras_left, fit_to, other_backbone, other_cameras


def load_for_evaluation(model: nn.Module, path: str, sha256: str = "") -> None:
    """Load ``MODEL.WEIGHTS``, of any known kind, and make sure that nothing is left as it was initialised.

    A classifier for another number of identities is left out: it does not reach the features.

    Args:
        model: what is evaluated.
        path: the weight file.
        sha256: what ``MODEL.WEIGHTS_SHA256`` pins.

    Raises:
        UsageError: the file cannot be read or is another one, or lacks weights of the model, or has them in another
            shape.
    """
    local = PathManager.get_local_path(path)
    digest = check_sha256(local, sha256, "MODEL.WEIGHTS_SHA256")
    try:
        fit = fit_to(model, read_checkpoint(local)["model"])
    except UsageError as error:
        raise error if str(error).startswith(str(local)) else UsageError(f"{path}: {error}") from error
    classifiers = {
        name
        for name, (given, needed) in fit.other_shapes.items()
        if len(given) == len(needed) == 2 and given[1:] == needed[1:]
    }
    if cameras := other_cameras(fit) or cameras_left(fit):
        raise UsageError(f"{path}: {cameras}")
    missing = [name for name in (*fit.missing, *fit.other_shapes) if name not in classifiers]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise UsageError(
            f"{path} ({fit.recognised.kind}): does not fit the model, which needs {', '.join(missing[:3])}{more} "
            "(missing, or of another shape); give the config that these weights were trained with"
        )
    if other := other_backbone(fit):
        raise UsageError(f"{path}: {other}")
    model.load_state_dict(fit.taken, strict=False)
    logging.getLogger("fastreid").info(f"Evaluating the weights of {path}: {fit.recognised.kind}, SHA-256 {digest}")
