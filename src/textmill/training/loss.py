"""What training minimises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from textmill.data.loader import Batch
from textmill.model.loss import cross_entropy_sum


def causal_loss(*, label_smoothing: float = 0.0) -> Callable[[nn.Module, Batch], Tensor]:
    """Return the loss of next-token prediction: from a model and a batch to summed nats over the counted targets."""

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return cross_entropy_sum(forward(model, batch), batch.targets, label_smoothing=label_smoothing)

    return loss


def forward(model: nn.Module, batch: Batch) -> Tensor:
    """Return the logits (B, T, V) of `model` for a batch; models that return an object with `.logits` are welcome.

    Positions and segments are passed only where the batch has them, so that any module from ids to logits will do.
    """
    options: dict[str, Any] = {}
    if batch.positions is not None:
        options["positions"] = batch.positions
    if batch.segments is not None:
        options["segments"] = batch.segments
    output = model(batch.tokens, **options)  # (B, T) -> (B, T, V)
    return getattr(output, "logits", output)
