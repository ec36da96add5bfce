"""Which pieces of which documents share a row: whole documents, placed one after the other in the order of the text.

A row has room for `capacity` tokens. A document that has more is cut into pieces that fill rows of their own, and a
rest that is placed like a document. The ways to place are the classical ones of bin packing: next fit, first fit and
best fit (Johnson, "Fast algorithms for bin packing", 1974), each decided for a document without looking at later ones.
First fit takes O(log n) steps for each, best fit one look at a mask of `capacity` bits, neither one step per open row.
"""

from array import array
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

STRATEGIES = ("greedy", "first_fit", "best_fit", "alone")
"""greedy is next fit: only the newest row is open. alone gives every document rows of its own."""

_CHUNK = 1 << 16
"""Pieces between two reports of how far packing is."""

Tick = Callable[[int, int], None]


@dataclass(frozen=True)
class Packing:
    """What each of R rows contains: P pieces, those of a row one after the other.

    Attributes:
        starts: int64 (P,): the first token of a piece in the store.
        lengths: int32 (P,): its tokens, each an input once.
        first: int64 (R + 1,): row r contains the pieces first[r] to first[r + 1].
        targets: int32 (R,): tokens that have a target. Exactly where the document continues after the row, they are as
            many as the row has room for: even the last token has its target.
    """

    starts: np.ndarray
    lengths: np.ndarray
    first: np.ndarray
    targets: np.ndarray


def pack(documents: np.ndarray, capacity: int, strategy: str, tick: Tick | None = None) -> Packing:
    """Return the rows for `documents`, their lengths (D,) in the order of the store, one of STRATEGIES.

    Every token is in one piece, except a last token that would be alone in one: it has nothing to predict and
    nothing follows it. `tick` gets (pieces placed, pieces in all) and may raise to stop. About 60 bytes of memory per
    document while it works, 13 afterwards.
    """
    starts, lengths, continues = _cut(np.asarray(documents, dtype=np.int64), capacity)
    if strategy == "alone":
        rows = np.arange(lengths.size)
    elif strategy == "greedy":
        rows = _placed(_next_fit(capacity), lengths, tick)
    else:
        rows = _fitted(lengths, capacity, strategy, tick)
    order = np.argsort(rows, kind="stable")
    first = np.concatenate([[0], np.cumsum(np.bincount(rows))]).astype(np.int64) if rows.size else np.zeros(1, np.int64)
    targets = (lengths - 1 + continues)[order]
    per_row = np.add.reduceat(targets, first[:-1]) if rows.size else targets
    return Packing(starts[order], lengths[order].astype(np.int32), first, per_row.astype(np.int32))


def _cut(documents: np.ndarray, capacity: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return start, length and whether its document continues after it, of every piece (P,)."""
    pieces = -(-np.maximum(documents - 1, 0) // capacity)  # (D,): as many as its targets need
    document = np.repeat(np.arange(documents.size), pieces)  # (P,)
    number = np.arange(document.size) - np.repeat(np.cumsum(pieces) - pieces, pieces)  # within its document
    rest = documents[document] - number * capacity
    starts = (np.cumsum(documents) - documents)[document] + number * capacity
    return starts, np.minimum(rest, capacity), rest > capacity


def _placed(choose_row: Callable[[int], int], lengths: np.ndarray, tick: Tick | None) -> np.ndarray:
    """Return the row of every piece, int64 (P,), asking `choose_row` for one after the other."""
    rows = np.empty(lengths.size, dtype=np.int64)
    for at in range(0, lengths.size, _CHUNK):
        chunk = lengths[at : at + _CHUNK]
        rows[at : at + _CHUNK] = [choose_row(length) for length in chunk.tolist()]
        if tick is not None:
            tick(at + chunk.size, lengths.size)
    return rows


def _fitted(lengths: np.ndarray, capacity: int, strategy: str, tick: Tick | None) -> np.ndarray:
    """Return the row of every piece by first or best fit; pieces that fill a row need no search and come last."""
    full = lengths == capacity
    partial = lengths[~full]
    # No two rows are both half empty, or the second's content would be in the first: so many rows always do.
    most = min(partial.size, 2 * int(partial.sum()) // capacity + 1)
    rows = np.empty(lengths.size, dtype=np.int64)
    rows[~full] = _placed(_first_fit(capacity, most) if strategy == "first_fit" else _best_fit(capacity), partial, tick)
    used = int(rows[~full].max()) + 1 if partial.size else 0
    rows[full] = used + np.arange(lengths.size - partial.size)
    return rows


def _next_fit(capacity: int) -> Callable[[int], int]:
    """Return a function from a piece's length to its row: the newest if there is room, else a new one."""
    row, free = -1, 0

    def choose_row(length: int) -> int:
        nonlocal row, free
        if length > free:
            row, free = row + 1, capacity
        free -= length
        return row

    return choose_row


def _first_fit(capacity: int, most: int) -> Callable[[int], int]:
    """Return a function from a piece's length to its row: the earliest of `most` rows with room.

    A tree over the rows has the most room in each half, so the earliest row is found by walking down.
    """
    size = 1 << max(most - 1, 0).bit_length()
    room = array("i", [capacity]) * (2 * size)

    def choose_row(length: int) -> int:
        node = 1
        while node < size:
            node *= 2
            if room[node] < length:
                node += 1
        row = node - size
        room[node] -= length
        while node > 1:
            left, right = room[node], room[node ^ 1]
            node >>= 1
            most_below = left if left > right else right
            if room[node] == most_below:
                break
            room[node] = most_below
        return row

    return choose_row


def _best_fit(capacity: int) -> Callable[[int], int]:
    """Return a function from a piece's length to its row: the one where it leaves the least room.

    Of several, it is the one used last. Rows wait in stacks by the room they have; a mask says which stacks have any.
    """
    stacks: list[list[int]] = [[] for _ in range(capacity + 1)]
    waiting, count = 0, 0

    def choose_row(length: int) -> int:
        nonlocal waiting, count
        fitting = waiting >> length
        if fitting:
            free = length + (fitting & -fitting).bit_length() - 1
            row = stacks[free].pop()
            if not stacks[free]:
                waiting ^= 1 << free
        else:
            row, free, count = count, capacity, count + 1
        free -= length
        if free:
            stacks[free].append(row)
            waiting |= 1 << free
        return row

    return choose_row
