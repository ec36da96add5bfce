"""The order of rows as a pure function: no shuffled list in memory, no state beyond the position itself.

A keyed bijection of range(n): a balanced Feistel network on the next power of four, walked along its cycles until it lands
inside (Luby and Rackoff 1988; Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002). It is our own arithmetic on
uint64, because the streams of numpy's generators may change from version to version and a resumed run must not notice.
"""

from __future__ import annotations

import numpy as np

_ROUNDS = 6
_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1

WINDOW_BLOCKS = 256


def _mix(value: np.ndarray) -> np.ndarray:
    """Return splitmix64's finaliser of every element (Steele, Lea, Flood 2014), uint64, wrapping."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def derive(key: int | np.ndarray, number: int | np.ndarray) -> np.ndarray:
    """Return a new key, uint64, for each pair of a key and a number; arrays broadcast."""
    keys = np.atleast_1d(np.asarray(key if isinstance(key, np.ndarray) else key & _MASK, dtype=np.uint64))
    numbers = np.atleast_1d(np.asarray(number, dtype=np.uint64))
    return _mix(_mix(keys + np.uint64(_GOLDEN)) + (numbers + np.uint64(1)) * np.uint64(_GOLDEN))


def permute(index: int | np.ndarray, n: int | np.ndarray, key: int | np.ndarray) -> np.ndarray:
    """Return where each index of range(n) goes under the permutation that `key` names: int64, the shape of `index`.

    `n` and `key` are one for all or one per index. Raises ValueError for an index outside range(n).
    """
    given = np.asarray(index)
    indices = np.atleast_1d(given).astype(np.int64).ravel()
    sizes = np.broadcast_to(np.asarray(n, dtype=np.int64).ravel(), indices.shape)
    if indices.size and (indices.min() < 0 or (indices >= sizes).any()):
        raise ValueError("an index lies outside the range that is permuted")
    half = _half_bits(sizes)
    low = (np.uint64(1) << half) - np.uint64(1)
    limit = sizes.astype(np.uint64)
    keys = np.broadcast_to(derive(key, 0), indices.shape)
    value = indices.astype(np.uint64)
    outside = np.ones(value.shape, dtype=bool)
    while outside.any():
        value[outside] = _feistel(value[outside], half[outside], low[outside], keys[outside])
        outside = value >= limit
    return value.astype(np.int64).reshape(given.shape)


def _half_bits(sizes: np.ndarray) -> np.ndarray:
    """Return the bits of half a block: the domain, four to their power, is the smallest that holds each size."""
    bits = np.array([max(int(size) - 1, 1).bit_length() for size in np.unique(sizes)])
    return ((bits + 1) // 2).astype(np.uint64)[np.searchsorted(np.unique(sizes), sizes)]


def _feistel(value: np.ndarray, half: np.ndarray, low: np.ndarray, keys: np.ndarray) -> np.ndarray:
    left, right = value >> half, value & low
    for number in range(_ROUNDS):
        left, right = right, left ^ (_mix(derive(keys, number) ^ right) & low)
    return (left << half) | right


def row_order(position: np.ndarray, num_rows: int, seed: int, block_rows: int | None = None) -> np.ndarray:
    """Return the row at each position of an endless run over `num_rows` rows: int64, the shape of `position`.

    Positions `[e * num_rows, (e + 1) * num_rows)` are epoch e; each epoch visits every row once, in an order of its own.
    With `block_rows`, blocks of that many neighbouring rows are permuted, and rows within windows of WINDOW_BLOCKS blocks:
    a store beyond the machine's memory is then read a window at a time instead of a row here and there.
    """
    position = np.asarray(position, dtype=np.int64)
    epoch, index = np.divmod(position, num_rows)
    keys = np.broadcast_to(derive(seed, epoch.ravel()), (position.size,)).reshape(position.shape)
    if block_rows is None or num_rows < 2 * block_rows:
        return permute(index, num_rows, keys.ravel())
    return _in_windows(index.ravel(), num_rows, keys.ravel(), block_rows).reshape(position.shape)


def _in_windows(index: np.ndarray, num_rows: int, keys: np.ndarray, block_rows: int) -> np.ndarray:
    blocks = num_rows // block_rows  # whole ones; the rows behind them keep the last places of the order
    whole = blocks * block_rows
    window_rows = WINDOW_BLOCKS * block_rows
    window, offset = np.divmod(index, window_rows)
    size = np.minimum(num_rows - window * window_rows, window_rows)
    place = window * window_rows + permute(offset, size, derive(keys, window + 1))
    slot, inside = np.divmod(place, block_rows)
    block = permute(np.minimum(slot, blocks - 1), blocks, keys)
    return np.where(place < whole, block * block_rows + inside, place)
