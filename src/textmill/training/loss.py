"""What training minimises."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from textmill.data.loader import Batch
from textmill.model.loss import cross_entropy_sum, forward


def causal_loss(*, label_smoothing: float = 0.0) -> Callable[[nn.Module, Batch], Tensor]:
    """Return the loss of next-token prediction: from a model and a batch to summed nats over the counted targets."""

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return cross_entropy_sum(forward(model, batch), batch.targets, label_smoothing=label_smoothing)

    return loss
