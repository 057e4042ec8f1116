"""``BalancedIdentitySampler`` unpacks exactly three fields of an item, so items with a mask break it, always.

The other samplers read identity and camera by position. Can go when it does so, too.
"""

import functools
from collections.abc import Callable

from fastreid.data.samplers import BalancedIdentitySampler


def apply() -> None:
    """Hand the sampler image, identity and camera of every item."""
    BalancedIdentitySampler.__init__ = _with_three_fields(BalancedIdentitySampler.__init__)


def _with_three_fields(stock_init: Callable) -> Callable:
    @functools.wraps(stock_init)
    def __init__(self: BalancedIdentitySampler, data_source: list[tuple], *args, **kwargs) -> None:
        stock_init(self, [tuple(item[:3]) for item in data_source], *args, **kwargs)

    return __init__
