"""Attention of your own: a sliding window, in which a position sees itself and those shortly before it.

    textmill train book.txt --model own_attention:sliding_window

Projections, norms, rotary positions and the cache of keys and values stay those of the family; `seen` is true where a
position may see another one. Letters: B sequences, T positions, S positions seen, H heads, K key heads, E head size.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

import textmill
from textmill.config import ModelConfig
from textmill.model import Decoder

WINDOW = 64


class Window(nn.Module):
    """Every position sees itself and the WINDOW - 1 before it."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()

    def forward(self, q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
        near = seen & seen.new_ones(seen.shape[-2:]).triu(k.shape[1] - q.shape[1] - WINDOW + 1)  # (T, S)
        heads = [each.transpose(1, 2) for each in (q, k, v)]  # (B, H, T, E), (B, K, S, E) twice
        return F.scaled_dot_product_attention(*heads, attn_mask=near, enable_gqa=True).transpose(1, 2)


def sliding_window(shape: ModelConfig) -> Decoder:
    return textmill.build_model(shape, attention=Window)
