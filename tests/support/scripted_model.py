"""A model that says what it was told to say, for tests of everything around it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Scripted(nn.Module):
    """From ids (N, T) to logits (N, T, V): after `prompt_length` tokens the next is script[0], then script[1], ..."""

    def __init__(self, script: Sequence[int], prompt_length: int, vocab_size: int = 300) -> None:
        super().__init__()
        self.script = list(script)
        self.prompt_length = prompt_length
        self.vocab_size = vocab_size
        self.steps = 0

    def forward(self, tokens: Tensor) -> Tensor:
        self.steps += 1
        logits = torch.zeros(*tokens.shape, self.vocab_size)
        logits[:, -1, self.script[tokens.shape[1] - self.prompt_length]] = 50.0
        return logits
