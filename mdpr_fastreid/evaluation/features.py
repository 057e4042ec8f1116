"""What the functions of this package accept as features, and the errors for what they do not."""

import contextlib
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from fastreid.utils import comm

from mdpr_fastreid.evaluation.arguments import need_real
from mdpr_fastreid.progress import Progress, with_progress

Features = np.ndarray | torch.Tensor

# Elements of a block of rows: 64 MiB of float32
BLOCK_ELEMENTS = 2**24

_SECONDS_WITHOUT_BAR = 3.0

# The squared distance of two features is at most four times the larger energy, and has to fit into float32
_LARGEST_ENERGY = torch.finfo(torch.float32).max / 8
# Below this length ``torch.nn.functional.normalize`` does not give a length of one
_SHORTEST = 1e-12


def as_features(features: Features, name: str, width: int | None = None, directed: bool = False) -> torch.Tensor:
    """Check features and return them as a contiguous float32 tensor on the device they are on.

    Args:
        features: ``[N, D]`` NumPy array or tensor, of any float or integer type.
        name: what the features are called in an error, such as ``query``.
        width: the ``D`` to insist on, if any.
        directed: insist on features other than zero, which have a direction.

    Raises:
        ValueError: not real numbers, not a matrix, no row or no column, another width, a value that is NaN, infinite
            or so large that a squared distance is not finite (about 6e18), or, where ``directed``, a row that is
            shorter than 1e-12.
    """
    given = features if isinstance(features, torch.Tensor) else np.ascontiguousarray(features)
    need_real(f"{name} features", given)
    tensor = torch.as_tensor(given).detach()
    if tensor.ndim != 2:
        raise ValueError(f"{name} features must be a matrix [N, D], got shape {tuple(tensor.shape)}")
    if tensor.shape[0] == 0:
        raise ValueError(f"{name} features are empty: there is no {name} image")
    if tensor.shape[1] == 0:
        raise ValueError(f"{name} features have zero length: shape {tuple(tensor.shape)}")
    if width is not None and tensor.shape[1] != width:
        raise ValueError(f"{name} features are {tensor.shape[1]} wide, the others {width}")
    tensor = tensor.to(torch.float32).contiguous()
    # The sum of squares is also what is not finite or zero, and it needs no copy of the features
    energy = squared_norms(tensor)
    usable = energy <= _LARGEST_ENERGY
    if not usable.all():
        row = int((~usable).nonzero()[0])
        raise ValueError(f"{name} features have NaN, infinite or too large values, first in row {row}")
    if directed:
        _need_direction(tensor, energy, name)
    return tensor


def _need_direction(features: torch.Tensor, energy: torch.Tensor, name: str) -> None:
    short = energy < _SHORTEST**2
    if not short.any():
        return
    row = int(short.nonzero()[0])
    if features[row].any():
        raise ValueError(f"{name} features are too short in row {row} to have a direction: scale them to 1e-12 or more")
    raise ValueError(f"{name} features have zero length in row {row}: all its values are zero")


def joined(query: Features, gallery: Features) -> torch.Tensor:
    """Query features, then gallery features, checked: ``[Q + G, D]`` on the device of the query.

    Raises:
        ValueError: as :func:`as_features`, and where the widths differ.
    """
    query = as_features(query, "query", directed=True)
    gallery = as_features(gallery, "gallery", width=query.shape[1], directed=True)
    return torch.cat((query, gallery.to(query.device)))


def squared_norms(features: torch.Tensor) -> torch.Tensor:
    """Squared euclidean norm of each row: ``[N]``."""
    return torch.linalg.vector_norm(features, dim=1).square_()


def like_input(result: torch.Tensor, features: Features) -> Features:
    """``result`` as the kind of array that ``features`` is: a tensor, or NumPy for NumPy."""
    return result if isinstance(features, torch.Tensor) else result.numpy()


def row_slices(rows: int, columns: int, elements: int | None = None) -> Iterator[slice]:
    """Slices over ``rows`` rows of ``columns`` elements each, about ``elements`` (``BLOCK_ELEMENTS``) at a time."""
    step = max(1, (elements or BLOCK_ELEMENTS) // max(columns, 1))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def blocks_with_progress(blocks: Iterable[slice], description: str) -> Iterator[slice]:
    """``blocks`` with a progress display of the main process, where the work takes longer than some seconds."""
    blocks = list(blocks)
    if not comm.is_main_process():
        return iter(blocks)
    return with_progress(blocks, Progress(len(blocks), description, delay=_SECONDS_WITHOUT_BAR))


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Products in true float32, whatever the caller has set: TF32 or autocast would swap neighbours that lie close."""
    with torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
        try:
            before = torch.get_float32_matmul_precision()
        except RuntimeError:
            # The caller has set PyTorch 2.9's fp32_precision, beside which the older switch must not be used
            before = [torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision]
            set_all, highest = _set_fp32_precision, ["ieee", "ieee"]
        else:
            set_all, highest = torch.set_float32_matmul_precision, "highest"
        set_all(highest)
        try:
            yield
        finally:
            set_all(before)


def _set_fp32_precision(values: list[str]) -> None:
    torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision = values
