"""The order of rows as a pure function: no shuffled list in memory, no state beyond the position itself.

A keyed bijection of range(n): a Feistel network on pairs (a, b) with a * b just above n, walked along its cycles until
it lands inside (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002, methods 2 and 3). It is our own
arithmetic on uint64, because the streams of numpy's generators may change from version to version, and a resumed run
must read the same rows.
"""

import numpy as np

WINDOW_BLOCKS = 256
"""Blocks whose rows are mixed with each other."""

_ROUNDS = 10  # with fewer, some orders of a handful of rows are rare
_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1


def derive(key: int | np.ndarray, number: int | np.ndarray) -> np.ndarray:
    """Return a new key, uint64, for each pair of a key and a number; arrays broadcast."""
    keys = np.atleast_1d(np.asarray(key if isinstance(key, np.ndarray) else key & _MASK, dtype=np.uint64))
    numbers = np.atleast_1d(np.asarray(number, dtype=np.uint64))
    return _mix(_mix(keys + np.uint64(_GOLDEN)) + (numbers + np.uint64(1)) * np.uint64(_GOLDEN))


def _mix(value: np.ndarray) -> np.ndarray:
    """Return splitmix64's finaliser of every element (Steele, Lea, Flood 2014), uint64, wrapping."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def permute(index: int | np.ndarray, n: int | np.ndarray, key: int | np.ndarray) -> np.ndarray:
    """Return where each index of range(n) goes under the permutation that `key` names: int64, the shape of `index`.

    `n` (below 2**52) and `key` are one for all or one per index. Raises ValueError for an index outside range(n).
    """
    given = np.asarray(index)
    indices = np.atleast_1d(given).ravel()
    sizes = np.broadcast_to(np.asarray(n, dtype=np.int64).ravel(), indices.shape)
    if indices.size and (indices.min() < 0 or (indices >= sizes).any()):
        raise ValueError("an index lies outside the range that is permuted")
    limit = sizes.astype(np.uint64)
    tall = np.ceil(np.sqrt(sizes)).astype(np.uint64)
    wide = (limit + tall - np.uint64(1)) // np.maximum(tall, np.uint64(1))
    round_keys = derive(derive(key, 0)[None, :], np.arange(_ROUNDS)[:, None])  # (rounds, 1 or indices)
    round_keys = np.broadcast_to(round_keys, (_ROUNDS, indices.size))
    value = _feistel(indices.astype(np.uint64), tall, wide, round_keys)
    while (outside := np.flatnonzero(value >= limit)).size:  # about one in sqrt(n)
        value[outside] = _feistel(value[outside], tall[outside], wide[outside], round_keys[:, outside])
    return value.astype(np.int64).reshape(given.shape)


def _feistel(value: np.ndarray, tall: np.ndarray, wide: np.ndarray, round_keys: np.ndarray) -> np.ndarray:
    """Return a bijection of range(tall * wide): each round adds a hash of one coordinate to the other."""
    row, column = np.divmod(value, wide)  # row < tall, column < wide
    for number, keys in enumerate(round_keys):
        if number % 2:
            column = (column + _mix(keys ^ row) % wide) % wide
        else:
            row = (row + _mix(keys ^ column) % tall) % tall
    return row * wide + column


def row_order(position: np.ndarray, num_rows: int, seed: int, block_rows: int | None = None) -> np.ndarray:
    """Return the row at each position of an endless run over `num_rows` rows: int64, the shape of `position`.

    Positions `[e * num_rows, (e + 1) * num_rows)` are epoch e; each epoch visits every row once, in an order of its
    own. With `block_rows`, blocks of that many neighbouring rows are permuted, and rows within windows of WINDOW_BLOCKS
    blocks: a store beyond the machine's memory is then read a window at a time instead of a row here and there.
    """
    position = np.asarray(position, dtype=np.int64)
    epoch, index = np.divmod(position.ravel(), num_rows)
    first, last = (int(epoch[0]), int(epoch[-1])) if epoch.size else (0, 0)
    keys = derive(seed, first if first == last and (epoch == first).all() else epoch)
    if block_rows is None or num_rows < 2 * block_rows:
        order = permute(index, num_rows, keys)
    else:
        order = _in_windows(index, num_rows, keys, block_rows)
    return order.reshape(position.shape)


def _in_windows(index: np.ndarray, num_rows: int, keys: np.ndarray, block_rows: int) -> np.ndarray:
    blocks = num_rows // block_rows  # whole ones; the few rows after them are visited in the last window
    window_rows = WINDOW_BLOCKS * block_rows
    window, offset = np.divmod(index, window_rows)
    size = np.minimum(num_rows - window * window_rows, window_rows)
    shuffled = window * window_rows + permute(offset, size, derive(keys, window + 1))
    slot, inside = np.divmod(shuffled, block_rows)
    block = permute(np.minimum(slot, blocks - 1), blocks, keys)
    return np.where(slot < blocks, block * block_rows + inside, shuffled)
