"""Causal attention for training on a CPU: from queries, keys and values side by side to the output, in few passes.

The same function as norms, `rotate` and `attend` in sequence, with its derivative written by hand. PyTorch has no CPU
kernels for the small steps between the products; what is saved here is their number, and the copies between layouts.

Letters: B sequences, T positions, H query heads, K key and value heads, G = H / K query heads per key head,
N = H + K heads that are normalised and rotated, E size of a head.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from textmill.model.dropout import keep_mask
from textmill.model.norm import inverse_rms
from textmill.model.positions import Angles


class Heads(NamedTuple):
    """How many heads the queries (H) and the keys (K) have, and their size (E)."""

    queries: int
    keys: int
    size: int


def attend_on_cpu(
    qkv: Tensor,
    heads: Heads,
    *,
    gains: tuple[Tensor, Tensor] | None = None,
    eps: float = 0.0,
    angles: Angles | None = None,
    bias: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Return the attention output of each position, (B, T, H*E).

    Args:
        qkv: queries, keys and values side by side, (B, T, (H + 2K)*E).
        gains: weights of the RMSNorm of queries and of keys, (E,) each; None for no norms. eps: its epsilon.
        angles: of `rotary_angles`, or None.
        bias: added to the scores: 0 or -inf, (G*T, T) or (K*B, G*T, T), or None.
        dropout: probability with which an attention weight is dropped; 0 outside training.
    """
    both = None
    if gains is not None:
        both = torch.cat((gains[0].expand(heads.queries, -1), gains[1].expand(heads.keys, -1)))  # (N, E)
    return _Attention.apply(qkv, both, angles, bias, _Constants(heads, eps, dropout))  # type: ignore[return-value]


class _Constants(NamedTuple):
    heads: Heads
    eps: float
    dropout: float


class _Attention(torch.autograd.Function):
    """With h the normalised queries and keys, w their gains, R the rotation: softmax(R(hw) R(hw)^T / sqrt(E) + bias) v.

    The norm is that of `RMSNorm`: with r = 1 / sqrt(mean(x^2) + eps), h = x r, and g the gradient of h w, that of w is
    the sum of g h, that of x is r (g w - h mean(g w h)). The rotation's transpose is the rotation by -angle.
    """

    @staticmethod
    def forward(
        ctx: Any,
        qkv: Tensor,
        gains: Tensor | None,
        angles: Angles | None,
        bias: Tensor | None,
        constants: _Constants,
    ) -> Tensor:
        heads, eps, dropout = constants
        qk, v = _split(qkv, heads)  # (B, T, N, E), (B, T, K, E)
        r = None
        if gains is not None:
            r = inverse_rms(qk, eps)  # (B, T, N, 1)
        ready = _scale_and_rotate(qk if r is None else qk * r, gains, angles).to(qkv.dtype)  # (N, B, T, E)
        q, k = _stack(ready[: heads.queries], heads), ready[heads.queries :].flatten(0, 1)  # (K*B, G*T, E), (K*B, T, E)
        v = v.permute(2, 0, 1, 3).reshape(k.shape)  # (K*B, T, E)
        scale = heads.size**-0.5
        if bias is None:
            scores = torch.bmm(q, k.transpose(1, 2)).mul_(scale)
        else:
            scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=scale)  # (K*B, G*T, T)
        weights = torch.softmax(scores, -1, out=scores).to(qkv.dtype)  # autocast may have other ideas of the dtype
        dropped = keep_mask(weights, dropout).mul_(weights).div_(1.0 - dropout) if dropout else None
        out = torch.bmm(weights if dropped is None else dropped, v)  # (K*B, G*T, E)
        ctx.save_for_backward(qkv, gains, r, q, k, v, weights, dropped, *(angles or ()))
        ctx.heads = heads
        return _unstack(out, len(qkv), heads)  # (B, T, H*E)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        qkv, gains, r, q, k, v, weights, dropped, *angles = ctx.saved_tensors
        heads: Heads = ctx.heads
        batch, length, _ = qkv.shape
        for_qkv = torch.empty_like(qkv)
        into_qk, into_v = _split(for_qkv, heads)  # (B, T, N, E), (B, T, K, E)
        gradient = _stack(gradient.view(batch, length, -1, heads.size).permute(2, 0, 1, 3), heads)  # (K*B, G*T, E)
        for_v = torch.bmm((weights if dropped is None else dropped).transpose(1, 2), gradient)  # (K*B, T, E)
        into_v.copy_(for_v.view(heads.keys, batch, length, -1).permute(1, 2, 0, 3))
        scores = torch.bmm(
            gradient, v.transpose(1, 2)
        )  # (K*B, G*T, T): of the weights, and then in place of the scores
        if dropped is None:
            torch.ops.aten._softmax_backward_data.out(scores, weights, -1, scores.dtype, grad_input=scores)
        else:  # the same with g w replaced by g d, where d are the weights after dropout: g d - w sum(g d)
            scores.mul_(dropped)
            scores.addcmul_(weights, scores.sum(-1, keepdim=True), value=-1.0)
        ready = torch.empty(heads.queries + heads.keys, batch, length, heads.size, dtype=qkv.dtype)  # (N, B, T, E)
        scale = heads.size**-0.5
        _product_into(ready[heads.queries :].flatten(0, 1), scores.transpose(1, 2), q, scale)
        if heads.queries == heads.keys:
            _product_into(ready[: heads.queries].flatten(0, 1), scores, k, scale)
        else:
            for_q = torch.bmm(scores, k).mul_(scale).view(heads.keys, batch, -1, length, heads.size)  # (K, B, G, T, E)
            ready[: heads.queries].unflatten(0, (heads.keys, -1)).copy_(for_q.transpose(1, 2))
        del scores
        by_position = ready.permute(1, 2, 0, 3)  # (B, T, N, E)
        if angles:
            by_position = _rotated_back(by_position, *angles)
        if gains is None:
            into_qk.copy_(by_position)
            return for_qkv, None, None, None, None
        for_gains = _norm_backward(by_position, _split(qkv, heads)[0], gains, r, into_qk)
        return for_qkv, for_gains, None, None, None


def _split(qkv: Tensor, heads: Heads) -> tuple[Tensor, Tensor]:
    """Return views of queries and keys (B, T, N, E), and of values (B, T, K, E)."""
    by_head = qkv.view(*qkv.shape[:2], -1, heads.size)
    return by_head[:, :, : heads.queries + heads.keys], by_head[:, :, heads.queries + heads.keys :]


def _stack(by_head: Tensor, heads: Heads) -> Tensor:
    """Return (H, B, T, E) as (K*B, G*T, E): the query heads of one key head are stacked, so keys are not repeated."""
    if heads.queries == heads.keys:
        return by_head.reshape(-1, *by_head.shape[2:])
    grouped = by_head.unflatten(0, (heads.keys, -1))  # (K, G, B, T, E)
    return grouped.transpose(1, 2).reshape(heads.keys * by_head.shape[1], -1, heads.size)


def _unstack(out: Tensor, batch: int, heads: Heads) -> Tensor:
    """Return (K*B, G*T, E) as (B, T, H*E)."""
    grouped = out.view(heads.keys, batch, heads.queries // heads.keys, -1, heads.size)  # (K, B, G, T, E)
    return grouped.permute(1, 3, 0, 2, 4).reshape(batch, -1, heads.queries * heads.size)


def _scale_and_rotate(h: Tensor, gains: Tensor | None, angles: Angles | None) -> Tensor:
    """Return h (B, T, N, E) times the gains (N, E), rotated, as (N, B, T, E) in memory."""
    ready = torch.empty(h.shape[2], *h.shape[:2], h.shape[3], dtype=h.dtype)
    by_position = ready.permute(1, 2, 0, 3)  # (B, T, N, E)
    if angles is None:
        if gains is None:
            by_position.copy_(h)
        else:
            torch.mul(h, gains, out=by_position)
        return ready
    cos, sin = angles  # (T, 1, E) or (B, T, 1, E)
    half = h.shape[-1] // 2
    if gains is not None:
        cos, sin = cos * gains, sin * gains.roll(half, -1)  # (T, N, E)
    torch.mul(h, cos, out=by_position)
    by_position[..., :half].addcmul_(h[..., half:], sin[..., :half])
    by_position[..., half:].addcmul_(h[..., :half], sin[..., half:])
    return ready


def _rotated_back(gradient: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return the gradient (B, T, N, E) before the rotation."""
    half = gradient.shape[-1] // 2
    before = torch.mul(gradient, cos, out=gradient.new_empty(gradient.shape))
    before[..., :half].addcmul_(gradient[..., half:], sin[..., half:])
    before[..., half:].addcmul_(gradient[..., :half], sin[..., :half])
    return before


def _norm_backward(gradient: Tensor, x: Tensor, gains: Tensor, r: Tensor, into: Tensor) -> Tensor:
    """Write the gradient of x (B, T, N, E) to `into`; return that of the gains, (N, E)."""
    h = x * r
    product = gradient * h
    for_gains = product.sum((0, 1))  # (N, E)
    mean = product.mul_(gains).mean(-1, keepdim=True)  # (B, T, N, 1)
    into.copy_(h.mul_(mean.neg_()).addcmul_(gradient, gains).mul_(r))
    return for_gains


def _product_into(into: Tensor, left: Tensor, right: Tensor, scale: float) -> None:
    """Write `scale` left right, batched, to `into`."""
    torch.baddbmm(into, left, right, beta=0.0, alpha=scale, out=into)
