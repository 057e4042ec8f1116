"""Stores of embeddings that are searched: on disk by FAISS, on a server by Milvus, or a plain .npz file."""

from mdpr_fastreid.search.opening import create_store, open_store
from mdpr_fastreid.search.reranking import rerank, search_reranked
from mdpr_fastreid.search.store import Hit, Store

__all__ = ["Hit", "Store", "create_store", "open_store", "rerank", "search_reranked"]
