"""The training loss as a sum; the mean is taken once, where the counted targets of all micro-batches are known."""

import inspect
from functools import cache
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from textmill.data.batches.loader import IGNORED, Batch
from textmill.errors import ConfigError


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


def logits_of(output: Any) -> Tensor:
    """Return the logits (B, T, V) among what a model returned: them, an object with `.logits`, or a tuple with them.

    Raises ConfigError for anything else.
    """
    found = getattr(output, "logits", output)
    if isinstance(found, tuple | list):  # (logits, loss), or (loss, logits, ...)
        found = next((part for part in found if isinstance(part, Tensor) and part.ndim == 3), found)
    if not isinstance(found, Tensor) or found.ndim != 3:
        what = f"a tensor of shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(output).__name__
        raise ConfigError(f"the model returned {what}, not logits (B, T, V): return these, or pass loss=")
    return found


@cache
def _takes_targets(kind: type[nn.Module]) -> bool:
    return "targets" in inspect.signature(kind.forward).parameters


def forward(model: nn.Module, batch: Batch) -> Tensor:
    """Return the logits (B, T, V) of `model` for a batch; see `logits_of`.

    Positions and segments are passed only if the batch has them, so that any module from ids to logits works. A model
    that takes `targets`, as nanoGPT's, gets them: without them it computes the logits of the last position alone.
    """
    options: dict[str, Any] = {}
    inner = getattr(model, "_orig_mod", model)  # of torch.compile
    if _takes_targets(type(getattr(inner, "module", inner))):  # of DistributedDataParallel
        options["targets"] = batch.targets.clamp(min=0)  # its loss is not used, and may know another IGNORED
    if batch.positions is not None:
        options["positions"] = batch.positions
    if batch.segments is not None:
        options["segments"] = batch.segments
    logits = logits_of(model(batch.tokens, **options))  # (B, T) -> (B, T, V)
    if logits.shape[:2] != batch.tokens.shape:
        raise ConfigError(
            f"the model returned the logits of {logits.shape[1]} positions for {batch.tokens.shape[1]} tokens: return "
            "those of every position, or pass loss="
        )
    return logits
