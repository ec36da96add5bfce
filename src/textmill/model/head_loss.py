"""The loss from what goes into the head, with the logits of a part of the tokens at a time.

The logits of a micro-batch are its largest tensor, and their gradient is as large. Here the gradient of a part follows
its logits at once, so that no two parts exist together; it costs no product more than the usual way.

Source: Hsu et al. 2024, arXiv:2410.10989, section 3.2 (fused linear cross-entropy).

Letters: N tokens, R tokens of a part, D width of the model, V tokens in the vocabulary, V' with what fills it up.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from textmill.data.batches.loader import IGNORED
from textmill.planning.logits import filled_up


def head_loss(
    x: Tensor, weight: Tensor, targets: Tensor, *, tokens_at_once: int, label_smoothing: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Return the sum of `cross_entropy_sum` over `x @ weight.T`, smoothed, and the plain one, which has no gradient.

    x: (..., D), in the format of the products, or autocast's if that is on. weight: of the head, (V, D).
    targets: ids (...); IGNORED is not counted.
    """
    kind = x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
    with torch.autocast(kind, enabled=False):
        return _HeadLoss.apply(  # type: ignore[return-value]
            x.flatten(0, -2),
            weight,
            targets.flatten(),
            _How(tokens_at_once, label_smoothing, dtype, torch.is_grad_enabled()),
        )


class _How(NamedTuple):
    """How many tokens are in a part, label smoothing, the format of the products, whether there are gradients."""

    tokens_at_once: int
    smoothing: float
    dtype: torch.dtype
    learns: bool


class _HeadLoss(torch.autograd.Function):
    """The two sums. The gradients are those of the first sum; the backward pass only multiplies them by its own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, targets: Tensor, how: _How) -> tuple[Tensor, Tensor]:
        tokens_at_once, smoothing, dtype, learns = how
        exact = torch.promote_types(x.dtype, torch.float32)
        size, columns = weight.shape[0], filled_up(weight.shape[0])
        head = F.pad(weight.to(dtype), (0, 0, 0, columns - size)) if columns > size else weight.to(dtype)  # (V', D)
        minimised, plain = (torch.zeros((), dtype=exact, device=x.device) for _ in range(2))
        d_x = torch.empty_like(x, dtype=dtype) if learns else None
        d_head = torch.zeros_like(head, dtype=exact) if learns else None
        for first in range(0, len(x), tokens_at_once):
            part = slice(first, first + tokens_at_once)
            rows = x[part].to(dtype)  # (R, D)
            sums, d_logits = _part(rows, head, targets[part], size=size, smoothing=smoothing, exact=exact)
            minimised, plain = minimised + sums[0], plain + sums[1]
            if d_x is None or d_head is None:
                continue
            d_x[part] = d_logits @ head
            if dtype == exact:
                d_head.addmm_(d_logits.T, rows)
            else:
                d_head += d_logits.T @ rows
            del d_logits
        if d_x is not None and d_head is not None:
            ctx.save_for_backward(d_x, d_head[:size])
        ctx.formats = x.dtype, weight.dtype
        ctx.mark_non_differentiable(plain)
        return minimised, plain

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        d_x, d_weight = ctx.saved_tensors
        of_x, of_weight = ctx.formats
        found = (d_x.to(of_x) * gradients[0]).to(of_x), (d_weight * gradients[0]).to(of_weight)
        return *found, None, None


def _part(
    rows: Tensor, head: Tensor, targets: Tensor, *, size: int, smoothing: float, exact: torch.dtype
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Return the two sums of a part, and the gradient of the first one by its logits (R, V') in the format of `rows`.

    rows: what goes into the head, (R, D). head: (V', D), of which the first `size` are the vocabulary. exact: the
    format of the sums.
    """
    logits = rows @ head.T  # (R, V')
    if len(head) > size:
        logits[:, size:] = -torch.inf  # what fills up the vocabulary has no probability
    logs = torch.log_softmax(logits, -1, dtype=exact)
    del logits
    counted, ids = targets[:, None] != IGNORED, targets[:, None].clamp(min=0)  # (R, 1)
    losses = -logs.gather(1, ids).where(counted, 0.0)  # (R, 1)
    plain = losses.sum()
    if smoothing:
        even = -logs[:, :size].mean(1, keepdim=True).where(counted, 0.0)
        losses = (1 - smoothing) * losses + smoothing * even
    gradient = logs.exp_()
    gradient.scatter_(1, ids, gradient.gather(1, ids) - (1 - smoothing))
    if smoothing:
        gradient[:, :size] -= smoothing / size
    return (losses.sum(), plain), gradient.masked_fill_(~counted, 0.0).to(rows.dtype)
