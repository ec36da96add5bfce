"""Differential attention (Ye et al. 2024, arXiv:2410.05258): attention with weights of its own.

    textmill train book.txt --model differential_attention:differential

As in `own_attention.py`, the rest of the layer stays that of the family. The paper also norms each head and ties the
learned share to the depth of the layer. Letters: B sequences, T positions, S positions seen, H heads, E head size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import textmill
from textmill.config import ModelConfig
from textmill.model import Decoder


class Differential(nn.Module):
    """Half of a head's softmax minus a learned share of the other half's, so that what both see cancels out."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.full((config.num_heads, 1, 1), 0.2))

    def forward(self, q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
        groups = q.shape[2] // k.shape[2]
        k, v = k.repeat_interleave(groups, 2).transpose(1, 2), v.repeat_interleave(groups, 2).transpose(1, 2)
        pairs = zip(q.transpose(1, 2).chunk(2, -1), k.chunk(2, -1))  # (B, H, T, E/2), (B, H, S, E/2)
        scores = [one @ other.mT / one.shape[-1] ** 0.5 for one, other in pairs]  # (B, H, T, S) twice
        kept, taken = (each.masked_fill(~seen, float("-inf")).softmax(-1) for each in scores)
        return ((kept - self.share * taken) @ v).transpose(1, 2)


def differential(shape: ModelConfig) -> Decoder:
    return textmill.build_model(shape, attention=Differential)
