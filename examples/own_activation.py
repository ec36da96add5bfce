"""An activation of your own: the square of ReLU (So et al. 2021, arXiv:2109.08668).

    textmill train book.txt --model own_activation:squared_relu

with this file in the current folder; `tests/training/test_examples_of_parts.py` runs it.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

import textmill
from textmill.config import ModelConfig
from textmill.model import Decoder, make_mlp


def square(x: Tensor) -> Tensor:
    return F.relu(x).square()


def with_square(config: ModelConfig, layer: int) -> nn.Module:
    mlp = make_mlp(config)
    mlp.activation = square
    return mlp


def squared_relu(shape: ModelConfig) -> Decoder:
    """Return the model of the shape, with another activation in every layer."""
    return textmill.build_model(shape, mlp=with_square)
