"""z-loss: a penalty on the logarithm of the softmax's divisor, so that logits do not drift away in long runs.

    textmill train book.txt --loss z_loss:z_loss

Source: Chowdhery et al. 2022, arXiv:2204.02311, section 5, with 1e-4. Letters: B sequences, T positions, V tokens.
"""

from __future__ import annotations

from torch import Tensor, nn

from textmill.data import Batch
from textmill.model import cross_entropy_sum, forward


def z_loss(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return what to minimise, and cross-entropy as the figure that is reported."""
    logits = forward(model, batch)  # (B, T, V)
    nats = cross_entropy_sum(logits, batch.targets)
    divisors = logits.float().logsumexp(-1)[batch.targets != -100]
    return nats + 1e-4 * divisors.square().sum(), nats
