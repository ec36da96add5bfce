"""Metrics of a model's logits. A metric is a sum and a count; the mean is taken once, at the end."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from textmill.data.batches.loader import IGNORED, Batch

Metric = Callable[[Tensor, Batch], tuple[Tensor | float, Tensor | float]]
"""From logits (B, T, V) and the batch, whose targets are ids (B, T) with -100 for none, to (sum, count).

Each is a number or a tensor; of a tensor with several elements, the sum is taken.
"""


def nats(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the summed cross-entropy in nats, and the number of counted targets."""
    losses = F.cross_entropy(
        logits.flatten(0, -2).float(), batch.targets.flatten(), ignore_index=IGNORED, reduction="none"
    )  # (B*T,)
    return exact_sum(losses), exact_sum(batch.targets != IGNORED)


def accuracy(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return how often the most likely token is the target, and the number of counted targets."""
    counted = batch.targets != IGNORED
    return exact_sum((logits.argmax(-1) == batch.targets) & counted), exact_sum(counted)


def exact_sum(values: Tensor) -> Tensor:
    """Return the sum of all elements in float64, on the device if it supports float64, else on the host."""
    if values.device.type == "mps":
        values = values.cpu()
    return values.sum(dtype=torch.float64)
