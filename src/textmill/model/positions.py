"""How a position is told to the model: turning queries and keys (RoPE), or adding a vector to the embedding.

Letters: B sequences, T positions, H heads, E size of a head, D width of the model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

Angles = tuple[Tensor, Tensor]
"""Cosines and sines of the positions of one call, (T, 1, E) or (B, T, 1, E) each."""


class RotaryTable(nn.Module):
    """Cosines and sines of RoPE for positions below `max_seq_len`, the sines of the first of each pair negated.

    Pair i of a head, made of its elements i and i + E/2, turns by position * theta^(-2i/E)
    (Su et al. 2021, arXiv:2104.09864, eq. 15; the half-split pairing is that of GPT-NeoX and transformers).
    The tables are not part of the weights.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, head_dim: int, max_seq_len: int, theta: float) -> None:
        super().__init__()
        frequencies = theta ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)  # (E/2,)
        angles = torch.outer(torch.arange(max_seq_len, dtype=torch.float32), frequencies)  # (T, E/2)
        self.register_buffer("cos", angles.cos().repeat(1, 2), persistent=False)  # (T, E)
        self.register_buffer("sin", torch.cat((-angles.sin(), angles.sin()), -1), persistent=False)

    def forward(self, positions: Tensor | slice, dtype: torch.dtype) -> Angles:
        """Return (cos, sin) of `positions`, (T, 1, E) for a slice and (B, T, 1, E) for a tensor (B, T)."""
        return self.cos[positions].unsqueeze(-2).to(dtype), self.sin[positions].unsqueeze(-2).to(dtype)


def rotate(x: Tensor, angles: Angles) -> Tensor:
    """Return `x` (B, T, H, E), every pair of elements turned by the angle of its position."""
    cos, sin = angles
    partner = x.roll(x.shape[-1] // 2, -1)  # each element's place is taken by the other of its pair
    return torch.addcmul(x * cos, partner, sin)


def sinusoids(max_seq_len: int, d_model: int) -> Tensor:
    """Return the fixed position vectors (max_seq_len, D) of Vaswani et al. 2017 (arXiv:1706.03762, section 3.5).

    Element 2i of position p is sin(p / 10000^(2i/D)), element 2i + 1 is the cosine of the same angle.
    """
    frequencies = 10000.0 ** (-torch.arange(0, d_model, 2, dtype=torch.float32) / d_model)
    angles = torch.outer(torch.arange(max_seq_len, dtype=torch.float32), frequencies)  # (T, D/2)
    return torch.stack((angles.sin(), angles.cos()), -1).flatten(1)[:, :d_model]  # (T, D)
