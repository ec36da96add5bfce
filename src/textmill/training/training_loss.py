"""The loss that training minimises."""

from collections.abc import Callable

from torch import Tensor, nn

from textmill.data.batches.loader import Batch
from textmill.model.cross_entropy import cross_entropy_sum, forward


def causal_loss(*, label_smoothing: float = 0.0) -> Callable[[nn.Module, Batch], Tensor | tuple[Tensor, Tensor]]:
    """Return the loss of next-token prediction: from a model and a batch to summed nats over the counted targets.

    With label smoothing it is the pair of the smoothed sum, which is minimised, and the plain one, which is reported:
    only the plain loss can be compared with the validation loss and between runs.
    """

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        return cross_entropy_sum(forward(model, batch), batch.targets)

    def smoothed(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        logits = forward(model, batch)  # (B, T, V)
        minimised = cross_entropy_sum(logits, batch.targets, label_smoothing=label_smoothing)
        return minimised, cross_entropy_sum(logits.detach(), batch.targets)

    return smoothed if label_smoothing else loss
