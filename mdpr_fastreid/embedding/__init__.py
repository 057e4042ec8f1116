"""From image files to embeddings, and to a file of them: what ``ReID.embed`` and ``mdpr embed`` do."""

from mdpr_fastreid.embedding.embeddings import Embeddings
from mdpr_fastreid.embedding.model_id import ModelId

__all__ = ["Embeddings", "ModelId"]
