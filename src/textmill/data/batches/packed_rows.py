"""Rows of whole documents."""

import numpy as np

from textmill.data.batches.loader import IGNORED, Rows
from textmill.data.batches.packing import Tick, pack
from textmill.data.store.token_shards import TokenStore
from textmill.errors import DataError


class PackedRows(Rows):
    """A store seen as rows of T positions that contain whole documents, one after the other; the rest is empty.

    A document is its tokens and its EOS token, if the corpus has one. Each token is an input at one position, its
    target is the next token of the same document: the EOS token is the last target of a document, the first token is
    never one. Documents of more than T tokens are cut into pieces of T, whose targets continue in the next piece, and a
    rest. A position without a target, or without a token, has target IGNORED and is in no loss. (An EOS token that
    would be a piece of its own is left out as an input: it has nothing to predict.)

    With `mask_documents` the documents of a row do not see each other and each counts its positions from 0; without,
    a document sees those before it in its row, as in Rows.
    """

    def __init__(
        self,
        store: TokenStore,
        seq_len: int,
        strategy: str,
        *,
        mask_documents: bool = False,
        tick: Tick | None = None,
    ) -> None:
        """Place the documents by one of `packing.STRATEGIES`: at most two seconds for a million documents.

        Raises DataError when no document has two tokens.
        """
        self.packing = pack(store.document_lengths(), seq_len, strategy, tick)
        if not self.packing.starts.size:
            raise DataError(f"{store.folder} has no document of two tokens, so there is nothing to predict in it")
        self.store = store
        self.seq_len = seq_len
        self.mask_documents = mask_documents
        self.num_targets = int(self.packing.targets.sum())
        self.targets_per_row = max(1, round(self.num_targets / len(self)))
        self.filled = int(self.packing.lengths.sum()) / (len(self) * seq_len)

    def __len__(self) -> int:
        return self.packing.targets.size

    def counts(self, indices: np.ndarray) -> np.ndarray:
        """Return how many targets each row counts, int64 (B,)."""
        return self.packing.targets[indices].astype(np.int64)

    def read(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return tokens and targets of the rows, int64 (B, T) each. One read of the disk per piece."""
        length = self.seq_len
        stored = np.zeros((len(indices), length + 1), dtype=self.store.dtype)  # (B, T + 1)
        counted = np.zeros((len(indices), length), dtype=bool)  # (B, T)
        for row, has_target, index in zip(stored, counted, np.asarray(indices).tolist()):
            more = int(self.packing.targets[index] == length)  # the document continues after the row
            at = 0
            for start, size in self._pieces(index):
                self.store.read_into(start, row[at : at + size + more])
                has_target[at : at + size - 1 + more] = True
                at += size
        tokens = stored[:, :-1].astype(np.int64)  # (B, T)
        targets = np.where(counted, stored[:, 1:].astype(np.int64), IGNORED)  # (B, T)
        return tokens, targets

    def _pieces(self, index: int) -> list[tuple[int, int]]:
        """Return (first token in the store, tokens) of every piece in a row."""
        pieces = slice(self.packing.first[index], self.packing.first[index + 1])
        return list(zip(self.packing.starts[pieces].tolist(), self.packing.lengths[pieces].tolist()))

    def starts(self, indices: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Return at which positions a document begins, bool (B, T). The empty rest of a row counts as one."""
        begins = np.zeros((tokens.shape[0], self.seq_len + 1), dtype=bool)
        for row, index in zip(begins, np.asarray(indices).tolist()):
            row[np.cumsum([size for _, size in self._pieces(index)])] = True
        return begins[:, :-1]
