"""Position encodings: rotating queries and keys (RoPE), or adding a vector to the embedding.

They are computed from the positions in every call: cheap compared with a layer, and there is no table to store.

Letters: B sequences, T positions, H heads, E size of a head, D width of the model.
"""

import torch
from torch import Tensor

Angles = tuple[Tensor, Tensor]
"""Cosines and sines of the positions of one call, (T, 1, E) or (B, T, 1, E) each; see `rotary_angles`."""


def rotary_angles(positions: Tensor, head_dim: int, theta: float, dtype: torch.dtype) -> Angles:
    """Return the cosines and sines of RoPE for `positions` (T,) or (B, T), for `rotate`.

    Pair i of a head, made of its elements i and i + E/2, is rotated by position * theta^(-2i/E) (Su et al. 2021,
    arXiv:2104.09864, eq. 15; the half-split pairing is that of GPT-NeoX and transformers). The sines of the first
    element of each pair are negated.
    """
    angles = _angles(positions, head_dim, theta)  # (..., T, E/2)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((cos, cos), -1).unsqueeze(-2).to(dtype), torch.cat((-sin, sin), -1).unsqueeze(-2).to(dtype)


def rotate(x: Tensor, angles: Angles) -> Tensor:
    """Return `x` (B, T, H, E), each pair of elements rotated by the angle of its position."""
    cos, sin = angles
    partner = x.roll(x.shape[-1] // 2, -1)  # the other element of each pair
    return torch.addcmul(x * cos, partner, sin)


def sinusoids(positions: Tensor, d_model: int) -> Tensor:
    """Return the vectors of `positions` (T,) or (B, T), with one more dimension, D (arXiv:1706.03762, section 3.5).

    Element 2i of position p is sin(p / 10000^(2i/D)), element 2i + 1 is the cosine of the same angle.
    """
    angles = _angles(positions, d_model, 10000.0)  # (..., T, D/2), rounded up
    return torch.stack((angles.sin(), angles.cos()), -1).flatten(-2)[..., :d_model]


def _angles(positions: Tensor, size: int, base: float) -> Tensor:
    """Return position * base^(-2i/size) for i from 0 to size/2, float32, with one more dimension than `positions`."""
    exponents = torch.arange(0, size, 2, device=positions.device, dtype=torch.float32) / size
    return positions[..., None] * base**-exponents
