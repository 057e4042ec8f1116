"""Finds what makes the host wait for a GPU, on a CPU."""

from torch.utils._python_dispatch import TorchDispatchMode

# Reading a number, and finding out how many values are kept
_WAITING = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal"}


class HostReads(TorchDispatchMode):
    """Within it, ``names`` collects the operations that would wait."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name
        if name in _WAITING:
            self.names.append(name)
        return function(*args, **(kwargs or {}))
