"""Normalisation of the residual stream and of queries and keys."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from textmill.config import ModelConfig


class RMSNorm(nn.Module):
    """y = x / sqrt(mean(x^2) + eps) * w over the last dimension (Zhang and Sennrich 2019, arXiv:1910.07467, eq. 4)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)
        return _RMSNormOnCPU.apply(x, self.weight, self.eps)  # type: ignore[return-value]


class _RMSNormOnCPU(torch.autograd.Function):
    """RMSNorm in fewer passes over memory: PyTorch has no CPU kernel for it.

    With r = 1 / sqrt(mean(x^2) + eps) and h = x r, and g the gradient of y: the gradient of w is the sum of g h over
    all rows, that of x is r (g w - h mean(g w h)). Computed in float32 or finer, returned in the dtype of x.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        r = inverse_rms(x, eps)  # (..., 1)
        ctx.save_for_backward(x, weight, r)
        return (x * r).mul_(weight).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, r = ctx.saved_tensors
        h = x * r
        product = (gradient * h).flatten(0, -2)  # (rows, D)
        for_weight = product.new_ones(len(product)) @ product  # sums by products, which are faster than reductions
        mean = (product @ (weight / x.shape[-1]).to(product.dtype)).view(r.shape)  # (..., 1)
        for_x = h.mul_(mean.neg_()).addcmul_(gradient, weight).mul_(r)
        return for_x.to(x.dtype), for_weight, None


def inverse_rms(x: Tensor, eps: float) -> Tensor:
    """Return 1 / sqrt(mean(x^2) + eps) over the last dimension, (..., 1), in float32 or finer."""
    precise = torch.promote_types(x.dtype, torch.float32)
    r = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=precise)
    return torch.addcmul(r.new_tensor(eps), r, r, value=1.0 / x.shape[-1]).rsqrt_()


class LayerNorm(nn.Module):
    """y = (x - mean(x)) / sqrt(var(x) + eps) * w + b over the last dimension (Ba et al. 2016, arXiv:1607.06450)."""

    def __init__(self, size: int, eps: float, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size))
        self.bias = nn.Parameter(torch.empty(size)) if bias else None
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


def make_norm(config: ModelConfig) -> nn.Module:
    """Return a normalisation layer of the residual stream for a resolved configuration."""
    assert config.norm_eps is not None and config.bias is not None
    if config.norm == "rmsnorm":
        return RMSNorm(config.d_model, config.norm_eps)
    return LayerNorm(config.d_model, config.norm_eps, config.bias)
