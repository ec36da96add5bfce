"""Dropout (Srivastava et al. 2014): in training, elements are set to 0 with probability p, the others divided by 1 - p.

On a CPU PyTorch draws a number per element, which takes longer than the layers around it. Here one draw of 64 bits
decides about four elements, each by 16 bits. Masks have the type of what they are multiplied with: a product with
another type takes three times as long.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_LEVELS = 1 << 16


class Dropout(nn.Dropout):
    """PyTorch's module, with masks of our own on a CPU; `p` counts there in steps of 1/65536."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.p == 0.0 or input.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(input)
        return _Masked.apply(input, keep_mask(input, self.p), 1.0 / (1.0 - self.p))  # type: ignore[return-value]


def keep_mask(like: Tensor, p: float) -> Tensor:
    """Return 0 with probability `p`, else 1, in the shape and type of `like`, on the CPU, from torch's generator."""
    draws = torch.empty((like.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    bits = draws.view(torch.int16)[: like.numel()].view(like.shape)
    level = min(round(p * _LEVELS), _LEVELS - 1) - _LEVELS // 2
    return torch.ge(bits, level, out=torch.empty(like.shape, dtype=like.dtype))


class _Masked(torch.autograd.Function):
    """x times the mask times the scale; the derivative is the same function."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(mask)
        ctx.scale = scale
        return (x * mask).mul_(scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (mask,) = ctx.saved_tensors
        return (gradient * mask).mul_(ctx.scale), None, None
