"""Key-value cache: keys and values of earlier positions, so that a new token costs one position and not all."""

import torch
from torch import Tensor


class Cache:
    """Keys and values of up to `max_len` positions of `batch_size` sequences that advance together.

    Buffers are allocated at first use, with the dtype and device of the keys.
    """

    def __init__(self, num_layers: int, batch_size: int, max_len: int) -> None:
        self.batch_size = batch_size
        self.max_len = max_len
        self.length = 0
        """Positions filled so far, the same in every layer and sequence."""
        self._keys: list[Tensor | None] = [None] * num_layers
        self._values: list[Tensor | None] = [None] * num_layers

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
        keys, values = self._keys[layer], self._values[layer]
        if keys is None or values is None:
            keys = torch.empty(batch, self.max_len, kv_heads, size, dtype=k.dtype, device=k.device)
            values = torch.empty_like(keys)
            self._keys[layer], self._values[layer] = keys, values
        keys[:, self.length : total] = k
        values[:, self.length : total] = v
        return keys[:, :total], values[:, :total]

    def advance(self, positions: int) -> None:
        """Count `positions` more as filled."""
        self.length += positions

    def clear(self) -> None:
        """Empty the cache; the buffers stay allocated."""
        self.length = 0
