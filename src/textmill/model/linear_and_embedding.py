"""Linear and embedding layers.

They are PyTorch's without the initialisation at construction: `from_config.py` fills every weight once, from one
generator, so that building a model neither wastes time nor changes the global random state.
"""

import torch
from torch import Tensor, nn


class Linear(nn.Linear):
    """y = x W^T + b with W of shape (outputs, inputs)."""

    def reset_parameters(self) -> None:
        """Do nothing: see `from_config.py`."""


def side_by_side(x: Tensor, *layers: nn.Module) -> Tensor:
    """Return the outputs of several linear layers of one input as one tensor (..., all their outputs).

    It is one product with the stacked weights, unless a layer was replaced or has hooks, which are respected.
    """
    plain = [layer for layer in layers if isinstance(layer, Linear) and is_plain(layer)]
    if len(plain) < len(layers):
        return torch.cat([layer(x) for layer in layers], -1)
    bias = None if plain[0].bias is None else torch.cat([layer.bias for layer in plain])
    return nn.functional.linear(x, torch.cat([layer.weight for layer in plain]), bias)


def is_plain(layer: nn.Module) -> bool:
    """Whether the product with the layer's weights is all that it does: it was not replaced and has no hooks."""
    return type(layer) is Linear and not (layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks)


class Embedding(nn.Embedding):
    """A table with one row of weights per id."""

    def reset_parameters(self) -> None:
        """Do nothing: see `from_config.py`."""


class Conv1D(nn.Module):
    """y = x W + b with W of shape (inputs, outputs): the layout of linear layers in GPT-2 checkpoints."""

    def __init__(self, in_features: int, out_features: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(in_features, out_features))
        self.bias = nn.Parameter(torch.empty(out_features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight.t(), self.bias)
