"""Causal attention: softmax(q k^T / sqrt(E) + mask) v, with grouped key and value heads.

Two implementations, same numbers. On a CPU the scores are written out (two batched products and a softmax), which is
several times faster there than PyTorch's fused kernel in bfloat16 and no slower in float32; elsewhere, and where the
scores would take too much memory, the fused kernel is used. Where a CUDA GPU has no kernel for queries that share keys
that stores no scores, each query gets keys of its own: a copy of them is small beside T*S scores.

Sources: Vaswani et al. 2017 (arXiv:1706.03762, eq. 1); grouped heads: Ainslie et al. 2023 (arXiv:2305.13245).

Letters: B sequences, T positions of this call, S positions that are attended to (cached ones included),
H query heads, K key and value heads, G = H / K query heads per key head, E size of a head.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from textmill.errors import ConfigError
from textmill.machine.pytorch_since import RIGHT_ATTENTION_ON_MPS
from textmill.planning.memory import FLASH, WRITTEN_OUT_LIMIT, groups_heads


@dataclass(frozen=True)
class Mask:
    """Which positions each position attends to, computed once per call and shared by all layers.

    With `written_out`, `bias` is added to the scores: 0 or -inf, (G*T, S) or (K*B, G*T, S), or None if nothing is
    masked; `by_hand`: there is no cache, and `attend_on_cpu` computes the rest. Otherwise the fused kernel gets
    `allowed`, a boolean (T, S) or (B, 1, T, S), on a CUDA GPU as numbers that are added, or None with `causal`, which
    masks the future; `repeat`: with keys and values once for each query head. segments: (B, T), as given.
    """

    written_out: bool
    by_hand: bool = False
    bias: Tensor | None = None
    allowed: Tensor | None = None
    causal: bool = False
    repeat: bool = False
    segments: Tensor | None = None


def make_mask(
    x: Tensor,
    past: int | None,
    *,
    heads: int,
    kv_heads: int,
    segments: Tensor | None,
    dtype: torch.dtype,
) -> Mask:
    """Return the mask of the new positions in the stream x (B, T, D), after `past` cached ones; None without a cache.

    Each position attends to itself and the earlier ones; with `segments` (B, T) only within its own segment, so that
    documents in one row are independent. `dtype` is that of the attention scores.
    """
    batch, length = x.shape[:2]
    total = length + (past or 0)
    written_out = x.device.type == "cpu" and batch * heads * length * total <= WRITTEN_OUT_LIMIT
    by_hand = written_out and past is None and not torch.compiler.is_compiling()
    if segments is None and length == 1:
        return Mask(written_out, by_hand)
    early = _mps_errs(x) and dtype != torch.float32  # then the kernel's own causal mask is wrong
    causal = segments is None and not written_out and not past and not early
    repeat = heads != kv_heads and x.device.type == "cuda" and not _groups_heads(x.device, dtype, masked=not causal)
    if causal:
        return Mask(written_out, causal=True, repeat=repeat)
    allowed = visible(length, total, segments, x.device)
    if not written_out and x.device.type == "cuda":  # once for all layers, where the kernel would do it in each
        allowed = torch.zeros(allowed.shape, dtype=dtype, device=x.device).masked_fill_(~allowed, float("-inf"))
    if not written_out:
        return Mask(written_out, allowed=allowed, repeat=repeat, segments=segments)
    bias = torch.zeros(allowed.shape, dtype=dtype, device=x.device).masked_fill_(~allowed, float("-inf"))
    group = heads // kv_heads
    if segments is None:
        return Mask(written_out, by_hand, bias.repeat(group, 1))  # (G*T, S)
    bias = bias.expand(kv_heads, batch, group, length, total)  # from (B, 1, T, S)
    return Mask(written_out, by_hand, bias.reshape(kv_heads * batch, group * length, total), segments=segments)


def visible(length: int, total: int, segments: Tensor | None, device: torch.device) -> Tensor:
    """Return which of S = `total` positions each of the last T = `length` may see: true or false, (T, S).

    With `segments` (B, T), where T = S, it is (B, 1, T, S).
    """
    allowed = torch.ones(length, total, dtype=torch.bool, device=device).tril(total - length)
    if segments is None:
        return allowed
    own = segments.unsqueeze(1)  # (B, 1, T)
    return allowed & (own.unsqueeze(-1) == own.unsqueeze(-2))


def _groups_heads(device: torch.device, dtype: torch.dtype, *, masked: bool) -> bool:
    flash = torch.cuda.get_device_capability(device) >= FLASH
    return groups_heads(half=dtype in (torch.float16, torch.bfloat16), masked=masked, flash=flash)


def attend_as_given(core: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: Mask) -> Tensor:
    """Return what an attention of the user's makes of queries, keys, values and `visible`; see `build_model`.

    Raises ConfigError for a result of another shape than the queries'.
    """
    out = core(q, k, v, visible(q.shape[1], k.shape[1], mask.segments, q.device))
    if not isinstance(out, Tensor) or out.shape != q.shape:
        what = f"a tensor of shape {tuple(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
        raise ConfigError(
            f"{type(core).__name__} returned {what}: an attention returns the shape of its queries, "
            f"here {tuple(q.shape)}"
        )
    return out


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Mask, dropout: float = 0.0) -> Tensor:
    """Return the attention output of each position, (B, T, H, E).

    Args:
        q: queries (B, T, H, E).
        k: keys (B, S, K, E); query head h uses key head h // G.
        v: values (B, S, K, E).
        mask: from `make_mask`.
        dropout: probability with which an attention weight is dropped; 0 outside training.
    """
    if mask.written_out:
        return _written_out(q, k, v, mask.bias, dropout)
    if mask.repeat:
        k, v = (shared.repeat_interleave(q.shape[2] // k.shape[2], dim=2) for shared in (k, v))
    heads = [tensor.transpose(1, 2) for tensor in (q, k, v)]  # (B, H, T, E), (B, K, S, E) twice
    if _mps_errs(q):
        heads = [tensor.contiguous() for tensor in heads]
    out = F.scaled_dot_product_attention(
        *heads,
        attn_mask=mask.allowed,
        is_causal=mask.causal,
        dropout_p=dropout,
        enable_gqa=q.shape[2] != k.shape[2],
    )
    return out.transpose(1, 2)


def _mps_errs(tensor: Tensor) -> bool:
    return tensor.device.type == "mps" and not RIGHT_ATTENTION_ON_MPS.here()


def _written_out(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, dropout: float) -> Tensor:
    batch, length, _, size = q.shape
    total, kv_heads = k.shape[1], k.shape[2]
    # The query heads of one key head are stacked, so keys and values are never repeated.
    q = q.unflatten(2, (kv_heads, -1)).permute(2, 0, 3, 1, 4).reshape(kv_heads * batch, -1, size)  # (K*B, G*T, E)
    k = k.permute(2, 0, 1, 3).reshape(kv_heads * batch, total, size)
    v = v.permute(2, 0, 1, 3).reshape(kv_heads * batch, total, size)
    scale = size**-0.5
    if bias is None:
        scores = torch.bmm(q, k.transpose(1, 2)) * scale
    else:  # one kernel for product, scale and mask
        scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=scale)  # (K*B, G*T, S)
    weights = scores.softmax(-1)
    if dropout:
        weights = F.dropout(weights, dropout)
    out = torch.bmm(weights, v)  # (K*B, G*T, E)
    return out.view(kv_heads, batch, -1, length, size).permute(1, 3, 0, 2, 4).flatten(2, 3)
