"""Rows to batches. The loader's whole state is the number of the step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from textmill.data.order import row_order
from textmill.data.shards import TokenStore
from textmill.errors import ConfigError, DataError

IGNORED = -100
"""A target that is not counted, as in torch's cross entropy."""

BLOCK_ORDER_ABOVE = 1 << 30
"""Bytes of a store. Larger ones may not fit the page cache, so their rows are shuffled in windows (see `row_order`)."""

_BLOCK_BYTES = 1 << 20


@dataclass
class Batch:
    """What one forward pass reads. B rows, T positions.

    Attributes:
        tokens: int64 (B, T).
        targets: int64 (B, T): the token that follows, IGNORED where none is counted.
        num_targets: how many targets are counted; a host number, so that nobody waits for the device.
        positions: int64 (B, T): the place in the document, or None for 0, 1, 2 ... in every row.
        segments: int64 (B, T): the document's number in the row, or None when attention may cross documents.
    """

    tokens: torch.Tensor
    targets: torch.Tensor
    num_targets: int
    positions: torch.Tensor | None = None
    segments: torch.Tensor | None = None

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on `device`; towards a GPU the copy does not wait where memory is pinned."""

        def move(tensor: torch.Tensor | None) -> torch.Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=True)

        return Batch(
            self.tokens.to(device, non_blocking=True),
            self.targets.to(device, non_blocking=True),
            self.num_targets,
            move(self.positions),
            move(self.segments),
        )


class Rows:
    """A store seen as rows of T + 1 tokens with stride T, so that every token but the first is a target exactly once.

    The last row may be shorter; what it lacks is token 0 with target IGNORED. With `mask_documents`, batches say which
    document a token belongs to, so that attention does not cross the marks between documents.

    Raises DataError when the store has less than two tokens, ConfigError when documents are to be masked and the store
    has no marks between them.
    """

    def __init__(self, store: TokenStore, seq_len: int, *, mask_documents: bool = False) -> None:
        if store.num_tokens < 2:
            raise DataError(f"{store.folder} has {store.num_tokens} tokens: a row needs two")
        if mask_documents and store.eos_id is None:
            raise ConfigError("mask_documents has no effect: no end-of-text mark separates documents in this corpus")
        self.store = store
        self.seq_len = seq_len
        self.mask_documents = mask_documents
        self.num_targets = store.num_tokens - 1

    def __len__(self) -> int:
        return -(-self.num_targets // self.seq_len)

    def counts(self, indices: np.ndarray) -> np.ndarray:
        """Return how many targets each row counts, int64 (B,)."""
        return np.minimum(self.num_targets - np.asarray(indices) * self.seq_len, self.seq_len)

    def read(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return tokens and targets of the rows, int64 (B, T) each. One read of the disk per row."""
        length = self.seq_len
        stored = np.zeros((len(indices), length + 1), dtype=self.store.dtype)  # (B, T + 1)
        counts = self.counts(indices)
        for row, index, count in zip(stored, indices.tolist(), counts.tolist()):
            self.store.read_into(index * length, row[: count + 1])
        tokens = stored[:, :-1].astype(np.int64)  # (B, T)
        targets = stored[:, 1:].astype(np.int64)  # (B, T)
        for row in np.flatnonzero(counts < length):
            tokens[row, counts[row] :] = 0
            targets[row, counts[row] :] = IGNORED
        return tokens, targets

    def batch(self, indices: np.ndarray) -> Batch:
        """Return the rows as a Batch."""
        tokens, targets = self.read(indices)
        batch = Batch(torch.from_numpy(tokens), torch.from_numpy(targets), int(self.counts(indices).sum()))
        if self.mask_documents:
            segments, positions = documents_in_rows(tokens, self.store.eos_id)
            batch.segments, batch.positions = torch.from_numpy(segments), torch.from_numpy(positions)
        return batch


def documents_in_rows(tokens: np.ndarray, eos_id: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of each token's document in its row and its place in that document, int64 (B, T) each.

    The mark belongs to the document it ends.
    """
    ends = tokens == eos_id  # (B, T)
    starts = np.zeros_like(ends)
    starts[:, 1:] = ends[:, :-1]
    segments = starts.cumsum(axis=1)
    places = np.arange(tokens.shape[1])
    first = np.maximum.accumulate(np.where(starts, places, 0), axis=1)  # (B, T)
    return segments.astype(np.int64), (places - first).astype(np.int64)


class TrainLoader:
    """Batches of shuffled rows for every optimizer step, an endless run over the epochs.

    Step s reads the places [s * G, (s + 1) * G) of the order, G = batch_size * accumulation * world_size, so the rows
    of a step depend on nothing but seed, s and G: not on the number of ranks, not on what was read before. A rank owns
    one stretch of them, cut into micro-batches. Steps may span epochs.
    """

    def __init__(
        self, rows: Rows, *, batch_size: int, accumulation: int = 1, world_size: int = 1, rank: int = 0, seed: int
    ) -> None:
        if min(batch_size, accumulation, world_size) < 1 or not 0 <= rank < world_size:
            raise ConfigError(
                f"batch_size {batch_size}, accumulation {accumulation} and world_size {world_size} must be at least 1, "
                f"and rank {rank} below world_size"
            )
        self.rows = rows
        self.batch_size = batch_size
        self.accumulation = accumulation
        self.world_size = world_size
        self.rank = rank
        self.seed = seed
        row_bytes = rows.seq_len * rows.store.dtype.itemsize
        large = rows.store.num_tokens * rows.store.dtype.itemsize > BLOCK_ORDER_ABOVE
        self._block_rows = max(_BLOCK_BYTES // row_bytes, 1) if large else None

    @property
    def rows_per_epoch(self) -> int:
        return len(self.rows)

    @property
    def rows_per_step(self) -> int:
        """Rows of one optimizer step over all ranks."""
        return self.batch_size * self.accumulation * self.world_size

    def row_indices(self, step: int) -> np.ndarray:
        """Return this rank's rows of optimizer step `step` (0-based), int64 (accumulation, batch_size)."""
        mine = self.batch_size * self.accumulation
        first = step * self.rows_per_step + self.rank * mine
        order = row_order(np.arange(first, first + mine), len(self.rows), self.seed, self._block_rows)
        return order.reshape(self.accumulation, self.batch_size)

    def batches(self, step: int) -> list[Batch]:
        """Return this rank's micro-batches of optimizer step `step` (0-based), one per accumulation."""
        return [self.rows.batch(indices) for indices in self.row_indices(step)]


class eval_batches:
    """Batches of a whole split in its own order, iterable again and again; every target is counted once.

    Every rank gets the same number of batches, because sharded models need all ranks in every forward pass, and
    every batch has the same shape, because compiled ones do: rows that only fill up count no target. With `limit`, so
    many batches (over all ranks) are taken, spread evenly.

    Attributes:
        num_targets: targets counted over all ranks.
        share: `num_targets` as a part of all targets of the split.
    """

    def __init__(
        self, rows: Rows, batch_size: int, *, world_size: int = 1, rank: int = 0, limit: int | None = None
    ) -> None:
        self.rows = rows
        self.batch_size = min(batch_size, len(rows))
        count = -(-len(rows) // self.batch_size)
        taken = count if limit is None else min(max(limit, 1), count)
        chosen = np.arange(taken) * count // taken
        rounds = -(-taken // world_size)
        self._mine = [int(chosen[at]) if at < taken else None for at in range(rank, rounds * world_size, world_size)]
        every = chosen[:, None] * self.batch_size + np.arange(self.batch_size)
        self.num_targets = int(rows.counts(every[every < len(rows)]).sum())
        self.share = self.num_targets / rows.num_targets

    def __len__(self) -> int:
        return len(self._mine)

    def __iter__(self) -> Iterator[Batch]:
        for number in self._mine:
            yield self._filled(np.arange(0, 0) if number is None else self._indices(number))

    def _indices(self, number: int) -> np.ndarray:
        first = number * self.batch_size
        return np.arange(first, min(first + self.batch_size, len(self.rows)))

    def _filled(self, indices: np.ndarray) -> Batch:
        """Return the batch of these rows, filled up with copies of row 0 that count nothing."""
        missing = self.batch_size - indices.size
        batch = self.rows.batch(np.concatenate([indices, np.zeros(missing, dtype=np.int64)]))
        if missing:
            batch.targets[indices.size :] = IGNORED
            batch.num_targets = int(self.rows.counts(indices).sum())
        return batch
