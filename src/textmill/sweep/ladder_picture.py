"""ladder.png: measured losses over size, one line of the law for each length, and where it leads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from textmill.console.number_format import count
from textmill.files import write_bytes
from textmill.sweep.ladder import AHEAD, Rung
from textmill.sweep.scaling_law import Law
from textmill.tracking.figure import BLUE, GREY, ORANGE, PURPLE, new_figure, png, style

_COLORS = (PURPLE, ORANGE, BLUE)


def draw_ladder(folder: Path, rungs: Sequence[Rung], law: Law, metric: str) -> Path:
    """Return the path of ladder.png."""
    figure = new_figure(f"{folder.name}: {law.sentence()}", 7.5, 5)
    axes = figure.subplots()
    sizes = sorted({rung.measured.size for rung in rungs})
    lengths = sorted({rung.measured.tokens for rung in rungs})
    line = np.geomspace(sizes[0], AHEAD * sizes[-1], 60)
    for color, tokens in zip(_COLORS, lengths):
        dots = [(rung.measured.size, rung.measured.loss) for rung in rungs if rung.measured.tokens == tokens]
        axes.scatter(*zip(*dots), color=color, s=28, zorder=3)
        axes.plot(line, [law.loss(size, tokens) for size in line], color=color, label=f"{count(tokens)} tokens")
    low, high = zip(*(law.interval(size, lengths[-1]) for size in line))
    axes.fill_between(line, low, high, color=BLUE, alpha=0.15, linewidth=0)
    axes.axvline(sizes[-1], color=GREY, linewidth=0.8, linestyle=":")
    axes.set_xscale("log")
    axes.set_xlabel("parameters without embeddings", fontsize=9)
    axes.set_ylabel(metric.replace("_", " "), fontsize=9)
    axes.legend(frameon=False, fontsize=8.5)
    style(axes)
    target = folder / "ladder.png"
    write_bytes(target, png(figure))
    return target
