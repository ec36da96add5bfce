"""The training loss as a sum; the mean is taken once, where the counted targets of all micro-batches are known."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from textmill.data.batches.loader import IGNORED, Batch


def cross_entropy_sum(logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Return the summed cross-entropy of all counted targets in nats, a float32 scalar.

    Args:
        logits: (B, T, V) of any floating dtype; the sum is taken in float32.
        targets: ids (B, T); IGNORED (-100) is not counted.
        label_smoothing: share of the target distributed over the vocabulary (Szegedy et al. 2016, arXiv:1512.00567,
            section 7).
    """
    return F.cross_entropy(
        logits.flatten(0, -2).float(),
        targets.flatten(),
        ignore_index=IGNORED,
        reduction="sum",
        label_smoothing=label_smoothing,
    )


def forward(model: nn.Module, batch: Batch) -> Tensor:
    """Return the logits (B, T, V) of `model` for a batch; models may return an object with `.logits`.

    Positions and segments are passed only if the batch has them, so that any module from ids to logits works.
    """
    options: dict[str, Any] = {}
    if batch.positions is not None:
        options["positions"] = batch.positions
    if batch.segments is not None:
        options["segments"] = batch.segments
    output = model(batch.tokens, **options)  # (B, T) -> (B, T, V)
    return getattr(output, "logits", output)
