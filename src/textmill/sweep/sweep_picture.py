"""sweep.png: the trials of a sweep and their results in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textmill.console.number_format import printable
from textmill.files import write_bytes
from textmill.sweep.run_sweep import SweepResult, Tried
from textmill.sweep.space import Dimension
from textmill.tracking.figure import BLUE, GREY, ORANGE, new_figure, png, style
from textmill.tracking.fonts import drawable

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_sweep(result: SweepResult, dimensions: Sequence[Dimension]) -> Path:
    """Return the path of `sweep.png`: the metric of each trial with the best so far, and over each setting."""
    panels = 1 + len(dimensions)
    columns = min(3, panels)
    rows = -(-panels // columns)
    figure = new_figure(f"{result.folder.name}: {len(result.trials)} trials", 4.2 * columns, 3.4 * rows)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    measured = [trial for trial in result.trials if trial.value is not None]
    _progress(axes[0], measured)
    for panel, dimension in zip(axes[1:], dimensions):
        _over(panel, measured, dimension)
    for panel in axes:
        panel.set_ylabel(result.metric.replace("_", " "), fontsize=9)
        style(panel)
    for panel in axes[panels:]:
        panel.set_visible(False)
    target = result.folder / "sweep.png"
    write_bytes(target, png(figure))
    return target


def _progress(axes: Axes, trials: Sequence[Tried]) -> None:
    _scatter(axes, trials, [trial.number for trial in trials])
    best: list[tuple[int, float]] = []
    for trial in trials:
        if trial.state == "complete" and trial.value is not None:
            best.append((trial.number, min([trial.value, *(lowest for _, lowest in best[-1:])])))
        elif best:
            best.append((trial.number, best[-1][1]))
    if best:
        axes.step(*zip(*best), color=ORANGE, where="post", label="best so far")
        axes.legend(fontsize=8.5, frameon=False)
    axes.set_xlabel("trial", fontsize=9)
    axes.locator_params(axis="x", integer=True)


def _over(axes: Axes, trials: Sequence[Tried], dimension: Dimension) -> None:
    values: list[Any] = [trial.values.get(dimension.setting) for trial in trials]
    if dimension.choices:
        names = [str(choice) for choice in dimension.choices]
        values = [names.index(str(value)) for value in values]
        labels, fonts = drawable([printable(name) for name in names])
        axes.set_xticks(range(len(names)), labels, fontfamily=fonts, parse_math=False)
    elif dimension.log:
        axes.set_xscale("log")
    _scatter(axes, trials, values)
    axes.set_xlabel(dimension.setting, fontsize=9)


def _scatter(axes: Axes, trials: Sequence[Tried], positions: Sequence[Any]) -> None:
    """Draw complete trials as filled dots, pruned ones as hollow dots."""
    for state, face, edge in (("complete", BLUE, BLUE), ("pruned", "none", GREY)):
        chosen = [(position, trial.value) for position, trial in zip(positions, trials) if trial.state == state]
        if chosen:
            axes.scatter(*zip(*chosen), s=26, facecolors=face, edgecolors=edge)
