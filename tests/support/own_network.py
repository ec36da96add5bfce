"""A model as users write them, and the settings of a short run."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

TINY: dict[str, Any] = {"d_model": 16, "num_layers": 1, "num_heads": 1, "batch_size": 4, "sample_steps": 0}
SHORT: dict[str, Any] = {**TINY, "max_seq_len": 32, "tokenizer": "byte"}


class Network(nn.Module):
    """An embedding and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.embedding = nn.Embedding(257, 8)
        self.head = nn.Linear(8, 257)

    def forward(self, tokens: Tensor) -> Any:
        return self.head(self.embedding(tokens))
