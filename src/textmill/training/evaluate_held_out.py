"""The validation set through the model in training."""

from collections.abc import Mapping

from textmill.errors import Interrupted
from textmill.evaluation import evaluate_batches as evaluation
from textmill.evaluation.metrics import Metric
from textmill.training.run import Run
from textmill.training.training_rows import HeldOut


def evaluate(run: Run) -> dict[str, float]:
    """Return the run's metrics over its whole validation set, over all processes; empty without validation text.

    For every set with a name they include `val_loss/NAME` [nats per token], and `val_bits_per_byte/NAME` where the size
    of its text is known.
    """
    result: dict[str, float] = {}
    for index, text in enumerate(run.held_out):
        part = _measure(run, text, run.metrics if index == 0 else {})
        if index == 0:
            result |= part
        if text.name is not None:
            result |= {f"val_{key}/{text.name}": part[key] for key in ("loss", "bits_per_byte") if key in part}
    return result


def _measure(run: Run, text: HeldOut, metrics: Mapping[str, Metric]) -> dict[str, float]:
    total = text.batches.num_targets

    def measured(done: int) -> None:
        run.reporting.screen.evaluating(min(done * run.world.size, total), total)

    def stop_together() -> None:
        """Raise Interrupted in all processes when a signal came to any of them. All must ask equally often."""
        raised = int(run.world.max(run.signals.raised or 0))
        if raised:
            raise Interrupted(raised)

    return evaluation.evaluate(
        run.model,
        text.batches,
        metrics,
        num_bytes=text.num_bytes,
        autocast=run.engine.precision.autocast,
        interrupted=stop_together,
        reduce=run.world.sum,
        progress=measured,
    )
