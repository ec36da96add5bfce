"""Keys and values of the positions already read, so that the next token costs one position and not all of them."""

from __future__ import annotations

import torch
from torch import Tensor


class Cache:
    """Room for the keys and values of `max_len` positions of `batch_size` sequences that advance together.

    The room is taken once, at the first use, in the dtype and on the device of the keys that arrive.
    """

    def __init__(self, num_layers: int, batch_size: int, max_len: int) -> None:
        self.batch_size = batch_size
        self.max_len = max_len
        self.length = 0
        """Positions filled so far, the same in every layer and sequence."""
        self._keys: list[Tensor | None] = [None] * num_layers
        self._values: list[Tensor | None] = [None] * num_layers

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keep `k` and `v` (B, T, K, E) of `layer` after those already there; return all, (B, S, K, E) each.

        `length` does not move: the model calls `advance` once, when every layer has appended.
        """
        batch, new, kv_heads, size = k.shape
        total = self.length + new
        if total > self.max_len or batch != self.batch_size:
            raise ValueError(
                f"the cache has room for {self.batch_size} x {self.max_len} positions, not for {batch} x {total}"
            )
        keys, values = self._keys[layer], self._values[layer]
        if keys is None or values is None:
            keys = torch.empty(batch, self.max_len, kv_heads, size, dtype=k.dtype, device=k.device)
            values = torch.empty_like(keys)
            self._keys[layer], self._values[layer] = keys, values
        keys[:, self.length : total] = k
        values[:, self.length : total] = v
        return keys[:, :total], values[:, :total]

    def advance(self, positions: int) -> None:
        """`positions` more are filled."""
        self.length += positions

    def clear(self) -> None:
        """Nothing is filled; the room stays taken."""
        self.length = 0
