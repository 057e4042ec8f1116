"""The architecture."""

from drop.meta_arch.drop import DROP

__all__ = ["DROP"]
