"""Key-value cache: keys and values of earlier positions, so that a new token costs one position and not all.

Letters: L layers, B sequences, K key and value heads, E size of a head, T new positions, S positions so far.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor


class Cache:
    """Keys and values of up to `max_len` positions of `batch_size` sequences that advance together.

    Buffers are allocated at first use, with the dtype and device of the keys. The positions of one head are neighbours
    in memory, so attention reads them in order and without a copy.
    """

    def __init__(self, num_layers: int, batch_size: int, max_len: int) -> None:
        self.batch_size = batch_size
        self.max_len = max_len
        self.length = 0
        """Positions filled so far, the same in every layer and sequence."""
        self._num_layers = num_layers
        self._buffers: Tensor | None = None
        """Keys and values, (2, L, B, K, max_len, E)."""

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append `k` and `v` (B, T, K, E) of `layer`; return all its keys and values, (B, S, K, E) each.

        `length` does not change: the model calls `advance` once, after every layer has appended.
        """
        batch, new, kv_heads, size = k.shape
        total = self.length + new
        if total > self.max_len or batch != self.batch_size:
            raise ValueError(
                f"the cache has room for {self.batch_size} x {self.max_len} positions, not for {batch} x {total}"
            )
        both = self._allocated(k, kv_heads, size)[:, layer]  # (2, B, K, max_len, E)
        both[0, :, :, self.length : total] = k.transpose(1, 2)
        both[1, :, :, self.length : total] = v.transpose(1, 2)
        keys, values = both[:, :, :, :total].transpose(2, 3)
        return keys, values

    def repeat(self, one: Cache) -> None:
        """Take the positions of the only sequence in `one` for every sequence."""
        filled = one._buffers
        assert filled is not None and one.batch_size == 1
        buffers = self._allocated(filled, filled.shape[3], filled.shape[5])
        buffers[..., : one.length, :] = filled[..., : one.length, :]
        self.length = one.length

    def _allocated(self, like: Tensor, kv_heads: int, size: int) -> Tensor:
        if self._buffers is None:
            self._buffers = like.new_empty(2, self._num_layers, self.batch_size, kv_heads, self.max_len, size)
        return self._buffers

    def next_position(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield per layer where key and value of the next position are to be written, and all keys and values with it.

        The shapes are (2, B, K, E), (B*K, E, S) and (B*K, S, E). Something must have been appended before.
        """
        buffers, past = self._buffers, self.length
        assert buffers is not None
        keys, values = buffers[..., : past + 1, :].flatten(2, 3)  # (L, B*K, S, E) each
        return zip(buffers[..., past, :].unbind(1), keys.mT, values)

    def advance(self, positions: int) -> None:
        """Count `positions` more as filled."""
        self.length += positions

    def clear(self) -> None:
        """Empty the cache; the buffers stay allocated."""
        self.length = 0
