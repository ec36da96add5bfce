"""Where a corpus that is being prepared is written, and what of it was prepared before: what the pipeline asks of both.

The store implements it; the pipeline gets it as a value and never sees its files.
"""

from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np

from textmill.data.preparing.chunks import EncodedChunk, Encoding
from textmill.tokenizers import Tokenizer


class Writer(Protocol):
    """Writes the ids of one side, in their order."""

    @property
    def num_tokens(self) -> int: ...

    def close(self) -> None: ...


class IdWriter(Writer, Protocol):
    def write(self, ids: np.ndarray, num_bytes: int) -> None: ...


class ChunkWriter(Writer, Protocol):
    """After `flush` what was written survives the end of the process."""

    def write(self, key: bytes, chunk: EncodedChunk) -> None: ...

    def flush(self) -> None: ...


class EarlierChunks(Protocol):
    """Finds chunks that were encoded before."""

    def find(self, key: bytes) -> EncodedChunk | None: ...


class Destination(Protocol):
    """An unfinished corpus. The `folder` of a side is its path within the corpus."""

    def learned(self) -> tuple[Tokenizer, list[str]] | None:
        """Return the tokenizer that an interrupted process learned for this corpus, and what it said; None without."""

    def keep_learned(self, tokenizer: Tokenizer, said: list[str]) -> None:
        """Keep a tokenizer for the next process, in case this one is stopped."""

    def chunk_writer(self, folder: str, encoding: Encoding) -> ChunkWriter: ...

    def id_writer(self, folder: str, vocab_size: int) -> IdWriter: ...

    def earlier(self, encoding: Encoding) -> AbstractContextManager[EarlierChunks]:
        """Return the chunks that this encoding made of text before, for this corpus or for those beside it."""
        ...
