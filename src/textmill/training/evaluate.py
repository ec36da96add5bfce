"""The validation set through the model in training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from textmill.data.batches.loader import Batch
from textmill.evaluation import evaluate_batches as evaluation
from textmill.evaluation.metrics import Metric

if TYPE_CHECKING:
    from textmill.training.run import Run


def evaluate(run: Run) -> dict[str, float]:
    """Return the run's metrics over its whole validation set, over all processes; empty where there is none.

    Of every set with a name there is `val_loss/NAME` [nats per token] too, and `val_bits_per_byte/NAME` where the size
    of its text is known.
    """
    if run.validation is None:
        return {}
    result = _measure(run, run.validation, run.validation_bytes, run.metrics)
    for name, text in run.named_validation.items():
        main = text.batches is run.validation
        part = result if main else _measure(run, text.batches, text.num_bytes)
        result |= {f"val_{key}/{name}": part[key] for key in ("loss", "bits_per_byte") if key in part}
    return result


def _measure(
    run: Run, batches: Iterable[Batch], num_bytes: float | None, metrics: Mapping[str, Metric] | None = None
) -> dict[str, float]:
    total = getattr(batches, "num_targets", None)

    def measured(done: int) -> None:
        if total is not None:
            run.screen.evaluating(min(done * run.world.size, total), total)

    return evaluation.evaluate(
        run.model,
        batches,
        metrics,
        num_bytes=num_bytes,
        autocast=run.engine.precision.autocast,
        interrupted=run.may_interrupt,
        reduce=run.world.sum,
        progress=measured,
    )
