"""Files to token ids to batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textmill.data.batches.text_size import corpus_size_bytes
from textmill.data.prepare import prepare
from textmill.data.reading.document import Document
from textmill.data.reading.read_documents import read_documents
from textmill.data.sources.file_listing import default_corpus, list_files
from textmill.data.store.corpus import Corpus, open_corpus
from textmill.data.store.token_shards import TokenStore
from textmill.imports import lazy_attributes
from textmill.runs.layout import is_prepared

if TYPE_CHECKING:
    from textmill.data.batches.dataset import TextDataset
    from textmill.data.batches.loader import Batch, Rows, TrainLoader, eval_batches

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

__getattr__ = lazy_attributes(
    __name__, {"batches.loader": ["Batch", "Rows", "TrainLoader", "eval_batches"], "batches.dataset": ["TextDataset"]}
)
