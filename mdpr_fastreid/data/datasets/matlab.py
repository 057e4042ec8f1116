"""Tables of whole numbers from MATLAB files."""

from pathlib import Path

import numpy as np

from mdpr_fastreid.errors import UsageError


def read_table(path: Path, name: str, columns: int) -> np.ndarray:
    """A matrix of a MATLAB file (up to version 7), ``[N, columns]`` in int64.

    Args:
        path: of the file.
        name: of the variable.
        columns: of the matrix; a vector, upright or not, has one.

    Raises:
        UsageError: the file is damaged or of another kind, has no such variable, or this is no such matrix.
    """
    from scipy.io import loadmat

    try:
        variables = loadmat(path)
    except Exception as error:  # a damaged file makes scipy raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{path} is damaged, or no MATLAB file up to version 7 ({reason}); copy it anew") from error
    if name not in variables:
        found = ", ".join(key for key in variables if not key.startswith("__")) or "none"
        raise UsageError(f"{path} has no variable {name!r}; its variables: {found}. Is it the set's own file?")
    table = np.asarray(variables[name])
    if columns == 1 and 1 in table.shape:
        table = table.reshape(-1, 1)
    numbers = table.dtype.kind in "iuf" and table.ndim == 2 and table.shape[1] == columns
    if not numbers or not np.array_equal(whole := np.nan_to_num(table).astype(np.int64), table):
        raise UsageError(
            f"{path}: {name} is {'x'.join(map(str, table.shape))} of {table.dtype}, not whole numbers in {columns} "
            "columns. Is it the set's own file?"
        )
    return whole
