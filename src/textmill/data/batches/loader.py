"""Rows to batches. The only state of the loader is the number of the step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass, replace

import numpy as np
import torch

from textmill.data.batches.row_order import row_order
from textmill.data.store.token_shards import TokenStore
from textmill.errors import ConfigError, DataError

IGNORED = -100
"""A target that is not counted, as in torch's cross entropy."""

BLOCK_ORDER_ABOVE = 1 << 30
"""Bytes of a store. Larger ones may not fit the page cache, so their rows are shuffled in windows (see `row_order`)."""

BLOCK_BYTES = 1 << 20


@dataclass
class Batch:
    """What one forward pass reads. B rows, T positions.

    Attributes:
        tokens: int64 (B, T).
        targets: int64 (B, T): the token that follows, IGNORED where none is counted.
        num_targets: how many targets are counted; a host number, so that nobody waits for the device.
        positions: int64 (B, T): the position in the document, or None for 0, 1, 2 ... in every row.
        segments: int64 (B, T): the document's number in the row, or None when attention may cross documents.
    """

    tokens: torch.Tensor
    targets: torch.Tensor
    num_targets: int
    positions: torch.Tensor | None = None
    segments: torch.Tensor | None = None

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on `device`; a copy from pinned memory to an NVIDIA GPU does not wait.

        PyTorch keeps pinned memory until such copies have happened. On other devices a copy that does not wait may read
        memory that is in use for something else by then.
        """
        device = torch.device(device)
        asynchronous = device.type == "cuda"
        return self._mapped(lambda tensor: tensor.to(device, non_blocking=asynchronous and tensor.is_pinned()))

    def pinned(self) -> Batch:
        """Return the batch in memory that a GPU copies from by itself, so that `to` does not wait."""
        return self._mapped(torch.Tensor.pin_memory)

    def _mapped(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        return replace(self, **{name: change(tensor) for name, tensor in tensors.items()})


class Rows:
    """A store seen as rows of T + 1 tokens with stride T, so that every token but the first is a target exactly once.

    The last row may be shorter; what it lacks is token 0 with target IGNORED. With `mask_documents`, batches say which
    document a token belongs to, so that attention does not cross from one document to the next, and positions count
    from the document's first token in the row.

    Attributes:
        num_targets: targets of all rows.
        targets_per_row: how many a typical row has.
        filled: the share of the rows' T positions that have a token of the text.

    Raises DataError when the store has less than two tokens, ConfigError when documents are to be masked and the store
    has a single one.
    """

    def __init__(self, store: TokenStore, seq_len: int, *, mask_documents: bool = False) -> None:
        if store.num_tokens < 2:
            raise DataError(f"{store.folder} has {store.num_tokens} of the two tokens that a row needs")
        self.store = store
        self.seq_len = seq_len
        self.mask_documents = mask_documents
        self.num_targets = store.num_tokens - 1
        self.targets_per_row = seq_len
        self.filled = self.num_targets / (len(self) * seq_len)
        self._first_tokens: np.ndarray | None = None
        if mask_documents and not separates_documents(store):
            raise ConfigError("mask_documents has no effect: there is only one document in this corpus")
        if mask_documents and store.eos_id is None:
            lengths = store.document_lengths()
            self._first_tokens = np.cumsum(lengths) - lengths

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
            segments, positions = segments_and_positions(self.starts(indices, tokens))
            batch.segments, batch.positions = torch.from_numpy(segments), torch.from_numpy(positions)
        return batch

    def starts(self, indices: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Return at which positions of the rows, whose `tokens` these are, a document begins: bool (B, T).

        An EOS token belongs to the document that it ends. The first position of a row begins one anyway.
        """
        begins = np.zeros(tokens.shape, dtype=bool)
        if self._first_tokens is None:
            begins[:, 1:] = tokens[:, :-1] == self.store.eos_id
            return begins
        first = np.asarray(indices) * self.seq_len  # (B,)
        low, high = np.searchsorted(self._first_tokens, [first, first + self.seq_len])
        for row, offset, one, other in zip(begins, first, low, high):
            row[self._first_tokens[one:other] - offset] = True
        return begins


def separates_documents(store: TokenStore) -> bool:
    """Whether the store has, or may have, more than one document and shows where each begins."""
    return store.eos_id is not None or store.document_lengths().size > 1


def segments_and_positions(starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which document of its row each token is in, and its position in it, int64 (B, T) each.

    starts: where documents begin, bool (B, T).
    """
    starts = starts.copy()
    starts[:, 0] = False  # the first document is number 0
    columns = np.arange(starts.shape[1])
    first = np.maximum.accumulate(np.where(starts, columns, 0), axis=1)  # (B, T)
    return starts.cumsum(axis=1).astype(np.int64), (columns - first).astype(np.int64)


Augment = Callable[[Batch, np.ndarray], Batch]
"""From a batch and the position (B,) of each of its rows in the order of the run to the batch to train on instead."""


@dataclass(eq=False)
class TrainLoader:
    """Batches of shuffled rows for every optimizer step, an endless run over the epochs.

    Step s reads positions [s * G, (s + 1) * G) of the order, G = batch_size * accumulation * world_size, so the rows of
    a step depend on nothing but seed, s and G: not on the number of ranks, not on what was read before. A rank owns
    one range of them, cut into micro-batches. Steps may span epochs.

    augment: changes the batches; the result depends on nothing but their rows and the positions of these in the order.
    """

    rows: Rows
    _: KW_ONLY
    batch_size: int
    accumulation: int = 1
    world_size: int = 1
    rank: int = 0
    seed: int
    augment: Augment | None = None

    def __post_init__(self) -> None:
        if min(self.batch_size, self.accumulation, self.world_size) < 1 or not 0 <= self.rank < self.world_size:
            raise ConfigError(
                f"batch_size {self.batch_size}, accumulation {self.accumulation} and world_size {self.world_size} must "
                f"be at least 1, and rank {self.rank} below world_size"
            )
        id_bytes = self.rows.store.dtype.itemsize
        large = self.rows.store.num_tokens * id_bytes > BLOCK_ORDER_ABOVE
        self._block_rows = max(BLOCK_BYTES // (self.rows.seq_len * id_bytes), 1) if large else None

    @property
    def rows_per_step(self) -> int:
        """Rows of one optimizer step over all ranks."""
        return self.batch_size * self.accumulation * self.world_size

    def row_indices(self, step: int) -> np.ndarray:
        """Return this rank's rows of optimizer step `step` (0-based), int64 (accumulation, batch_size)."""
        return row_order(self._order_positions(step), len(self.rows), self.seed, self._block_rows)

    def _order_positions(self, step: int) -> np.ndarray:
        """Return the positions in the order of this rank's rows of `step`, int64 (accumulation, batch_size)."""
        mine = self.batch_size * self.accumulation
        first = step * self.rows_per_step + self.rank * mine
        return np.arange(first, first + mine).reshape(self.accumulation, self.batch_size)

    def batches(self, step: int) -> list[Batch]:
        """Return this rank's micro-batches of optimizer step `step` (0-based), one per accumulation."""
        batches = [self.rows.batch(indices) for indices in self.row_indices(step)]
        if self.augment is None:
            return batches
        return [self.augment(batch, positions) for batch, positions in zip(batches, self._order_positions(step))]


class Prefetch:
    """A loader whose batches are read in the background while the steps before them are computed.

    `batches(step)` returns exactly what the loader returns. Asking for the steps in their order is what makes it fast;
    in any other order, what was read ahead is wasted. An error in the background is raised when its step is asked for.

    ahead: steps that are read before they are asked for, each by a thread. pin: the batches are in pinned memory.
    """

    def __init__(self, loader: TrainLoader, *, ahead: int = 1, pin: bool = False) -> None:
        self.loader = loader
        self._ahead = ahead
        self._pin = pin
        self._threads = ThreadPoolExecutor(ahead, thread_name_prefix="batches")  # they end with this object
        self._coming: dict[int, Future[list[Batch]]] = {}

    @property
    def rows(self) -> Rows:
        return self.loader.rows

    def batches(self, step: int) -> list[Batch]:
        """Return this rank's micro-batches of optimizer step `step` (0-based), one per accumulation."""
        wanted = range(step, step + self._ahead + 1)
        for number in [number for number in self._coming if number not in wanted]:
            self._coming.pop(number).cancel()
        for number in wanted:
            if number not in self._coming:
                self._coming[number] = self._threads.submit(self._read, number)
        return self._coming.pop(step).result()

    def _read(self, step: int) -> list[Batch]:
        batches = self.loader.batches(step)
        return [batch.pinned() for batch in batches] if self._pin else batches


class eval_batches:
    """Batches of a whole split in its own order, iterable again and again; every target is counted once.

    Every rank gets the same number of batches, because sharded models need all ranks in every forward pass, and
    every batch has the same shape, because compiled ones do: rows that only fill up count no target. With `limit`, so
    many batches (over all ranks) are taken, spread evenly. With `pin` they are in pinned memory, and a thread reads the
    next one meanwhile.

    Attributes:
        num_targets: targets counted over all ranks.
        share: `num_targets` as a part of all targets of the split.
    """

    def __init__(
        self,
        rows: Rows,
        batch_size: int,
        *,
        world_size: int = 1,
        rank: int = 0,
        limit: int | None = None,
        pin: bool = False,
    ) -> None:
        self.rows, self._pin = rows, pin
        self.batch_size = min(batch_size, len(rows))
        count = -(-len(rows) // self.batch_size)
        taken = count if limit is None else min(max(limit, 1), count)
        chosen = np.arange(taken) * count // taken
        rounds = -(-taken // world_size)
        mine = range(rank, rounds * world_size, world_size)
        self._first_rows = [int(chosen[at]) * self.batch_size if at < taken else len(rows) for at in mine]
        every = chosen[:, None] * self.batch_size + np.arange(self.batch_size)
        self.num_targets = int(rows.counts(every[every < len(rows)]).sum())
        self.share = self.num_targets / rows.num_targets

    def __len__(self) -> int:
        return len(self._first_rows)

    def __iter__(self) -> Iterator[Batch]:
        batches = map(self._at, self._first_rows)
        return pinned_ahead(batches) if self._pin else batches

    def _at(self, first: int) -> Batch:
        """Return the batch that begins at this row; one that begins behind the last row only fills up."""
        return self._filled(np.arange(first, min(first + self.batch_size, len(self.rows))))

    def _filled(self, indices: np.ndarray) -> Batch:
        """Return the batch of these rows, filled up with copies of row 0 that count nothing."""
        missing = self.batch_size - indices.size
        batch = self.rows.batch(np.concatenate([indices, np.zeros(missing, dtype=np.int64)]))
        if missing:
            batch.targets[indices.size :] = IGNORED
            batch.num_targets = int(self.rows.counts(indices).sum())
        return batch


def pinned_ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Yield the batches in pinned memory; each is read in the background while the one before it is computed."""

    def read() -> Batch | None:
        batch = next(batches, None)
        return None if batch is None else batch.pinned()

    with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
        coming = thread.submit(read)
        while (batch := coming.result()) is not None:
            coming = thread.submit(read)
            yield batch
