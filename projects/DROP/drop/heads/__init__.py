"""The head."""

from drop.heads.drop_head import DROPHead, Embeddings

__all__ = ["DROPHead", "Embeddings"]
