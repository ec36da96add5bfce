"""Files to token ids to batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textmill.data.corpus import Corpus, is_prepared, open_corpus
from textmill.data.document import Document
from textmill.data.prepare import prepare
from textmill.data.read import read_documents
from textmill.data.shards import TokenStore
from textmill.data.sources import corpus_size_bytes, default_corpus, list_files

if TYPE_CHECKING:
    from textmill.data.dataset import TextDataset
    from textmill.data.loader import Batch, Rows, TrainLoader, eval_batches

__all__ = [
    "Batch",
    "Corpus",
    "Document",
    "Rows",
    "TextDataset",
    "TokenStore",
    "TrainLoader",
    "corpus_size_bytes",
    "default_corpus",
    "eval_batches",
    "is_prepared",
    "list_files",
    "open_corpus",
    "prepare",
    "read_documents",
]


def __getattr__(name: str) -> Any:
    """Import what needs torch when it is asked for."""
    if name == "TextDataset":
        from textmill.data.dataset import TextDataset

        return TextDataset
    if name in ("Batch", "Rows", "TrainLoader", "eval_batches"):
        from textmill.data import loader

        return getattr(loader, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
