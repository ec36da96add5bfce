"""The training loss as a sum; the mean is taken once, where the counted targets of all micro-batches are known."""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from textmill.data.batches.loader import IGNORED, Batch
from textmill.errors import ConfigError
from textmill.planning.logits import tokens_at_once


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


def smoothed_sums(logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return the sum with smoothing, to minimise, and without, to report; without smoothing they are one tensor.

    Only the plain loss can be compared with the validation loss and between runs.
    """
    minimised = cross_entropy_sum(logits, targets, label_smoothing=label_smoothing)
    return minimised, cross_entropy_sum(logits.detach(), targets) if label_smoothing else minimised


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
def _takes(kind: type[nn.Module], name: str) -> bool:
    return name in inspect.signature(kind.forward).parameters


def _unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside of what torch.compile and DistributedDataParallel make of one."""
    inner = getattr(model, "_orig_mod", model)
    return getattr(inner, "module", inner)


def loss_sums(
    model: nn.Module,
    batch: Batch,
    *,
    label_smoothing: float = 0.0,
    of_logits: Callable[..., tuple[Tensor, Tensor]] = smoothed_sums,
) -> tuple[Tensor, Tensor]:
    """Return the loss of `model` on a batch as `smoothed_sums` does.

    One of ours computes it itself where its logits are too many to exist at once, and where it is compiled, so that the
    loss is part of what is compiled. of_logits: `smoothed_sums`, or what it was compiled to, for all other models.
    """
    inner: Any = _unwrapped(model)
    if _takes(type(inner), "next_tokens"):
        size = inner.config.vocab_size
        in_parts = tokens_at_once(batch.tokens.numel(), size) is not None
        if in_parts or hasattr(model, "_orig_mod"):
            options = {"next_tokens": batch.targets, "label_smoothing": label_smoothing}
            return model(batch.tokens, **_documents(batch), **options)
    return of_logits(forward(model, batch), batch.targets, label_smoothing=label_smoothing)


def _documents(batch: Batch) -> dict[str, Tensor]:
    """Return positions and segments if the batch has them, so that any module from ids to logits can be called."""
    found = {"positions": batch.positions, "segments": batch.segments}
    return {name: value for name, value in found.items() if value is not None}


def output_of(model: nn.Module, batch: Batch) -> Any:
    """Return what `model` returns for a batch, whose positions and segments it gets where documents are hidden.

    A model that takes `targets`, as nanoGPT's, gets them: without them it computes the logits of the last position
    alone.
    """
    options = _documents(batch)
    if _takes(type(_unwrapped(model)), "targets"):
        options["targets"] = batch.targets.clamp(min=0)  # its loss is not used, and may know another IGNORED
    return model(batch.tokens, **options)


def forward(model: nn.Module, batch: Batch) -> Tensor:
    """Return the logits (B, T, V) of `model` for a batch; see `logits_of` and `output_of`."""
    logits = logits_of(output_of(model, batch))  # (B, T) -> (B, T, V)
    if logits.shape[:2] != batch.tokens.shape:
        raise ConfigError(
            f"the model returned the logits of {logits.shape[1]} positions for {batch.tokens.shape[1]} tokens: return "
            "those of every position, or pass loss="
        )
    return logits
