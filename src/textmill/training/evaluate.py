"""The validation set through the model in training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textmill.evaluation import run as evaluation

if TYPE_CHECKING:
    from textmill.training.run import Run


def evaluate(run: Run) -> dict[str, float]:
    """Return the run's metrics over its whole validation set, over all processes; empty where there is none."""
    if run.validation is None:
        return {}
    return evaluation.evaluate(
        run.model,
        run.validation,
        run.metrics,
        num_bytes=run.validation_bytes,
        autocast=run.engine.precision.autocast,
        interrupted=run.may_interrupt,
        reduce=run.world.sum,
    )
