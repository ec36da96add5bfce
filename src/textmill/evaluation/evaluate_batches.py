"""Evaluate a model on a set of batches."""

from __future__ import annotations

import inspect
import math
import signal
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from textmill.data.batches.loader import Batch
from textmill.errors import ConfigError, DataError, Interrupted, TextmillError, one_line
from textmill.evaluation.metrics import Metric, accuracy, exact_sum, nats
from textmill.model.cross_entropy import forward
from textmill.tokenizers import Tokenizer
from textmill.tokenizers.char_and_byte import LONGEST_CHARACTER

_UNKNOWN = "unknown token"


@dataclass(frozen=True)
class Unknown:
    """The token for what a vocabulary cannot spell.

    bits: what spelling the text behind one of them costs at most: its bytes in UTF-8. Infinity if that is not known; a
    text with such tokens has no bits per byte.
    """

    id: int
    bits: float

    @classmethod
    def of(cls, tokenizer: Tokenizer | None) -> Unknown | None:
        """Return the unknown token of a tokenizer, None if it has none."""
        if tokenizer is None or tokenizer.unk_id is None:
            return None
        return cls(tokenizer.unk_id, 8.0 * LONGEST_CHARACTER if tokenizer.kind == "char" else math.inf)


def evaluate(
    model: nn.Module,
    batches: Iterable[Batch],
    metrics: Mapping[str, Metric] | None = None,
    *,
    num_bytes: float | None = None,
    unknown: Unknown | None = None,
    autocast: Callable[[], AbstractContextManager[object]] | None = None,
    interrupted: Callable[[], bool | None] | None = None,
    reduce: Callable[[float], float] | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, float]:
    """Return the metrics of `model` over all targets of `batches`, each target weighing the same.

    They are `loss` [nats per token], `perplexity` (e^loss), `bits_per_byte` [bits per byte of UTF-8 text, where
    `num_bytes` is given], `accuracy` (share of targets that were the most likely token), `tokens` (targets counted),
    and the means of `metrics`. Sums are in float64, so the batch size does not matter. The model stays in its mode, and
    no gradients are recorded.

    Args:
        model: from ids (B, T) to logits (B, T, V), or to an object with `.logits`.
        batches: this process's share of the data.
        metrics: additional metrics by name.
        num_bytes: UTF-8 bytes of the whole text, over all processes.
        unknown: the token for what the vocabulary cannot spell, so that bits per byte count what it hides.
        autocast: returns the context of each forward pass.
        interrupted: called before every batch; may itself raise the error that ends the evaluation.
        reduce: sums a number over all processes.
        progress: called with the targets counted so far by this process, after every batch.

    Raises:
        Interrupted: `interrupted()` returned true.
        ConfigError: a metric has the name of a built-in one, or returns no pair of numbers; `model` is no module.
        DataError: there are no targets.
    """
    if not isinstance(model, nn.Module):
        raise ConfigError(f"model is {type(model).__name__}, not a torch.nn.Module; evaluate_model takes a saved one")
    refuse_built_in_names(metrics or {})
    measured: dict[str, Metric] = {"loss": nats, "accuracy": accuracy, **(metrics or {})}
    if unknown is not None:
        measured[_UNKNOWN] = lambda logits, batch: ((batch.targets == unknown.id).sum(), 0.0)
    sums = _sums(model, batches, measured, autocast or nullcontext, interrupted, progress)
    totals = {}
    for name, pair in sums.items():
        local_sum, local_count = (float(value) for value in pair)
        totals[name] = (reduce(local_sum), reduce(local_count)) if reduce is not None else (local_sum, local_count)
    hidden, _ = totals.pop(_UNKNOWN, (0.0, 0.0))
    return _report(totals, num_bytes, hidden * unknown.bits if unknown is not None and hidden else 0.0)


def refuse_built_in_names(metrics: Mapping[str, Metric]) -> None:
    """Raise ConfigError for a metric with the name of a built-in one."""
    for name in metrics:
        if name in ("loss", "accuracy", "perplexity", "bits_per_byte", "tokens"):
            raise ConfigError(f"the metric name {name} is built in: choose another")


def refuse_unfit_metric(name: str, metric: Metric) -> None:
    """Raise ConfigError unless `metric` can be called with logits and a batch. It is not called: it may count calls."""
    try:
        signature = inspect.signature(metric)
    except (TypeError, ValueError):  # of a function in C
        return
    try:
        signature.bind(None, None)
    except TypeError as error:
        takes = f"it takes {signature}, and is called with (logits, batch)"
        raise ConfigError(f"the metric {name} cannot be measured: {takes}, to return (sum, count)") from error


def _sums(
    model: nn.Module,
    batches: Iterable[Batch],
    metrics: Mapping[str, Metric],
    autocast: Callable[[], AbstractContextManager[object]],
    interrupted: Callable[[], bool | None] | None,
    progress: Callable[[int], None] | None,
) -> dict[str, list[Tensor | float]]:
    """Return [sum, count] of every metric over the batches; sums stay on the device, so nothing waits."""
    sums: dict[str, list[Tensor | float]] = {name: [0.0, 0.0] for name in metrics}
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    counted = 0
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for batch in batches:
                if interrupted is not None and interrupted():
                    raise Interrupted(signal.SIGINT)
                batch = batch.to(device)
                with autocast():
                    logits = forward(model, batch)  # (B, T, V)
                for name, metric in metrics.items():
                    for index, value in enumerate(_pair(name, metric, logits, batch)):
                        sums[name][index] += exact_sum(value) if isinstance(value, Tensor) else value
                counted += batch.num_targets
                if progress is not None:
                    progress(counted)
    finally:
        model.train(training)
    return sums


def _pair(name: str, metric: Metric, logits: Tensor, batch: Batch) -> tuple[Tensor | float, Tensor | float]:
    """Return the sum and the count of a metric over the batch, as numbers or as tensors, of which all elements count.

    Raises ConfigError if it fails or returns something else.
    """
    try:
        measured: Any = metric(logits, batch)
    except (TextmillError, RuntimeError, MemoryError):  # among them the device's own errors, such as out of memory
        raise
    except Exception as error:
        raise ConfigError(f"the metric {name} failed: {type(error).__name__}: {one_line(error)}") from error
    if not isinstance(measured, tuple | list) or len(measured) != 2:
        what = "a tensor" if isinstance(measured, Tensor) else type(measured).__name__
        raise ConfigError(f"the metric {name} returned {what}, not the pair (sum, count) over the batch")
    return _number(name, "sum", measured[0]), _number(name, "count", measured[1])


def _number(name: str, part: str, value: Any) -> Tensor | float:
    """Return a tensor as it is, a number as a float. Raises ConfigError for anything else."""
    if isinstance(value, Tensor) and not value.is_complex():
        return value
    with suppress(OverflowError):
        if isinstance(value, Real):
            return float(value)
    what = "None" if value is None else "complex numbers" if isinstance(value, Tensor) else type(value).__name__
    raise ConfigError(f"the metric {name} returned {what} as its {part}: (sum, count) are numbers or tensors")


def _report(totals: Mapping[str, tuple[float, float]], num_bytes: float | None, hidden_bits: float) -> dict[str, float]:
    summed, tokens = totals["loss"]
    if not tokens:
        raise DataError("there is nothing to evaluate: the data contains fewer than two tokens in a row")
    loss = summed / tokens
    report = {"loss": loss, "perplexity": perplexity(loss)}
    if num_bytes and hidden_bits < math.inf:
        report["bits_per_byte"] = (summed / math.log(2) + hidden_bits) / num_bytes
    for name, (total, count) in totals.items():
        if name != "loss":
            report[name] = total / count if count else math.nan
    report["tokens"] = int(tokens)
    return report


def perplexity(loss: float) -> float:
    """Return e^loss, or infinity if it is too large for a float."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf
