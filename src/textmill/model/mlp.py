"""The feed-forward part of a block.

Letters: B sequences, T positions, D width of the model, F width inside.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from textmill.config import ModelConfig
from textmill.model.linear_and_embedding import Conv1D, Linear, side_by_side


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": _gelu_tanh,
    "relu": F.relu,
}
"""GELU: Hendrycks and Gimpel 2016 (arXiv:1606.08415), exact and in the tanh form that GPT-2 uses."""


class GatedMLP(nn.Module):
    """down(act(gate(x)) * up(x)); with SiLU this is SwiGLU (Shazeer 2020, arXiv:2002.05202, eq. 6)."""

    def __init__(self, d_model: int, d_ff: int, activation: str, bias: bool) -> None:
        super().__init__()
        self.gate_proj = Linear(d_model, d_ff, bias)
        self.up_proj = Linear(d_model, d_ff, bias)
        self.down_proj = Linear(d_ff, d_model, bias)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        if self.activation is F.silu and x.device.type == "cpu" and not torch.compiler.is_compiling():
            inside = _SwiGLUOnCPU.apply(side_by_side(x, self.gate_proj, self.up_proj))  # (B, T, 2F) -> (B, T, F)
        else:
            inside = self.activation(self.gate_proj(x)) * self.up_proj(x)  # (B, T, F)
        return self.down_proj(inside)  # (B, T, D)


class _SwiGLUOnCPU(torch.autograd.Function):
    """silu(g) u of g and u side by side, (..., 2F) -> (..., F), in fewer passes over memory."""

    @staticmethod
    def forward(ctx: Any, gate_and_up: Tensor) -> Tensor:
        ctx.save_for_backward(gate_and_up)
        gate, up = gate_and_up.chunk(2, -1)
        return F.silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (gate_and_up,) = ctx.saved_tensors
        gate, up = gate_and_up.chunk(2, -1)
        result = torch.empty_like(gate_and_up)
        for_gate, for_up = result.chunk(2, -1)
        torch.ops.aten.silu.out(gate, out=for_up)
        for_up.mul_(gradient)
        torch.mul(gradient, up, out=for_gate)
        torch.ops.aten.silu_backward.grad_input(for_gate, gate, grad_input=for_gate)
        return result


class PlainMLP(nn.Module):
    """c_proj(act(c_fc(x))), the feed-forward layer of GPT-2 (and, with ReLU, of arXiv:1706.03762, eq. 2)."""

    def __init__(self, d_model: int, d_ff: int, activation: str, bias: bool) -> None:
        super().__init__()
        self.c_fc = Conv1D(d_model, d_ff, bias)
        self.c_proj = Conv1D(d_ff, d_model, bias)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(self.activation(self.c_fc(x)))  # (B, T, F) -> (B, T, D)


def make_mlp(config: ModelConfig) -> GatedMLP | PlainMLP:
    """Return the feed-forward layer of a resolved configuration: with a gate or without."""
    assert config.d_ff is not None and config.activation is not None and config.bias is not None
    kind = GatedMLP if config.gated_mlp else PlainMLP
    return kind(config.d_model, config.d_ff, config.activation, config.bias)
