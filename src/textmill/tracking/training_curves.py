"""training_curves.png: the curves of a run in one picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textmill.files import write_bytes
from textmill.runs import layout
from textmill.runs.read_run import read_measurements
from textmill.tracking.figure import BLUE, GREEN, GREY, ORANGE, PURPLE, new_figure, png, style
from textmill.tracking.metric_table import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = Sequence[Mapping[str, Any]]

_FEW_POINTS = 60  # up to here every point gets a marker


def draw_training_curves(run: Path) -> Path:
    """Return the path of `run/training_curves.png`, drawn from the run's metrics.jsonl and steps.jsonl.

    Loss, perplexity, learning rate and throughput over the steps; a panel without any value says so. Raises
    CannotWriteError.
    """
    target = run / layout.CURVES
    evaluations, reports = read_measurements(run / layout.METRICS), read_measurements(run / layout.STEPS)
    write_bytes(target, training_curves(evaluations, reports, title=run.resolve().name))
    return target


def training_curves(evaluations: Rows, reports: Rows, *, title: str) -> bytes:
    """Return the picture as PNG, from the rows of metrics.jsonl and those of steps.jsonl; both may be empty."""
    figure = new_figure(title, 11, 7.5)
    loss, perplexity, rate, speed = figure.subplots(2, 2).flat
    _draw_loss(loss, evaluations, reports)
    _curve(perplexity, evaluations, "val_perplexity", ORANGE, "validation", marker="o")
    values = [value for value in _series(evaluations, "val_perplexity")[1] if math.isfinite(value)]
    if values and max(values) > 20 * min(values):
        perplexity.set_yscale("log")
    _curve(rate, reports or evaluations, "learning_rate", GREEN, "learning rate")
    _curve(speed, reports or evaluations, "tokens_per_second", PURPLE, "throughput")
    last_step = max((float(row.get("step", 0)) for row in [*evaluations, *reports]), default=0.0)
    _finish_panel(loss, "Loss", METRICS["val_loss"].unit, last_step)
    _finish_panel(perplexity, "Validation perplexity", "", last_step)
    for axes, title, metric in ((rate, "Learning rate", "learning_rate"), (speed, "Throughput", "tokens_per_second")):
        _finish_panel(axes, title, METRICS[metric].unit, last_step)
        if axes.lines:
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_formatter(lambda value, position: f"{value:,.0f}" if value >= 100 else f"{value:.3g}")
    return png(figure)


def _draw_loss(axes: Axes, evaluations: Rows, reports: Rows) -> None:
    """Training loss of every report (thin) and evaluation window, validation loss, and a star at the best of it."""
    _curve(axes, reports, "train_loss", BLUE, "training, at each report", alpha=0.35, linewidth=1.0)
    _curve(axes, evaluations, "train_loss", BLUE, "training, mean", marker="s")
    _curve(axes, evaluations, "val_loss", ORANGE, "validation", marker="o")
    steps, losses = _series(evaluations, "val_loss")
    finite = [(loss, step) for step, loss in zip(steps, losses) if math.isfinite(loss)]
    if finite:
        best, step = min(finite)
        axes.axhline(best, color=GREY, linewidth=0.8, linestyle=":")
        axes.plot([step], [best], "*", color=ORANGE, markersize=12, label=f"best {best:.4g} at step {step:,.0f}")


def _series(rows: Rows, name: str) -> tuple[list[float], list[float]]:
    """Return the steps and the values of a metric; a value that is not finite is NaN, a gap in the line."""
    points = [(row["step"], row[name]) for row in rows if name in row and "step" in row]
    return [float(step) for step, _ in points], [math.nan if value is None else float(value) for _, value in points]


def _curve(axes: Axes, rows: Rows, name: str, color: str, label: str, marker: str = "", **style: Any) -> None:
    steps, values = _series(rows, name)
    if not any(math.isfinite(value) for value in values):
        return
    if len(values) == 1:
        marker = marker or "o"  # a single point has no line
    elif len(values) > _FEW_POINTS:
        marker = ""
    axes.plot(
        steps, values, color=color, label=label or None, marker=marker, markersize=4, **{"linewidth": 1.6, **style}
    )


def _finish_panel(axes: Axes, title: str, unit: str, last_step: float) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title if not unit else f"{title} [{unit}]", fontsize=10.5, loc="left")
    axes.set_xlabel("step", fontsize=9)
    style(axes)
    if not axes.lines:
        axes.text(0.5, 0.5, "nothing was measured", ha="center", va="center", color=GREY, transform=axes.transAxes)
        axes.set_xticks([])
        axes.set_yticks([])
        return
    axes.set_xlim(0, max(1.0, last_step * 1.03))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    axes.xaxis.set_major_formatter(lambda value, position: f"{value:,.0f}")
    if len(axes.get_legend_handles_labels()[1]) > 1:
        axes.legend(fontsize=8.5, frameon=False)
