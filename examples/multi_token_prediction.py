"""Prediction of several tokens: heads that are trained to say the token after the next one, and the one after that.

    textmill train book.txt --model multi_token_prediction:MultiToken --loss multi_token_prediction:all_tokens

Source: Gloeckle et al. 2024, arXiv:2404.19737. Evaluation and generation use the usual head alone.
Letters: B sequences, T positions, D width, V tokens.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

import textmill
from textmill.config import ModelConfig
from textmill.data import Batch
from textmill.model import cross_entropy_sum, output_of

AHEAD, WEIGHT = 2, 0.3


class MultiToken(nn.Module):
    def __init__(self, shape: ModelConfig) -> None:
        super().__init__()
        self.main = textmill.build_model(shape)
        self.config = self.main.config
        self.further = nn.ModuleList(nn.Linear(shape.d_model, shape.d_model) for _ in range(AHEAD))

    def forward(self, tokens: Tensor, positions: Tensor | None = None, segments: Tensor | None = None) -> list[Tensor]:
        x = self.main.stream(tokens, positions=positions, segments=segments)  # (B, T, D)
        further = self.further if self.training else []
        return [self.main.lm_head(each) for each in (x, *(x + F.silu(layer(x)) for layer in further))]  # (B, T, V)


def all_tokens(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the loss of all heads, and that of the usual one, which other runs can be compared with."""
    first, *others = output_of(model, batch)
    nats = cross_entropy_sum(first, batch.targets)
    sums = [cross_entropy_sum(each[:, :-far], batch.targets[:, far:]) for far, each in enumerate(others, 1)]
    return nats + WEIGHT * sum(sums), nats
