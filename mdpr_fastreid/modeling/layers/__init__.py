"""The layers MDPR is made of."""

from mdpr_fastreid.modeling.layers.attention_maker import AttentionGuidance, AttentionMaker, foreground
from mdpr_fastreid.modeling.layers.attention_pooling import AttentionPooling
from mdpr_fastreid.modeling.layers.circle_softmax import CircleSoftmax
from mdpr_fastreid.modeling.layers.embedding import Embedding
from mdpr_fastreid.modeling.layers.merged_convolution import merged_convolution
from mdpr_fastreid.modeling.layers.synchronized_batch_norm import SyncBatchNorm

__all__ = [
    "AttentionGuidance",
    "AttentionMaker",
    "AttentionPooling",
    "CircleSoftmax",
    "Embedding",
    "SyncBatchNorm",
    "foreground",
    "merged_convolution",
]
