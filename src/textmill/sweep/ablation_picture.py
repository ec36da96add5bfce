"""ablation.png: the mean curve of every variant with a band of one standard deviation, and the differences."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textmill.console.number_format import printable
from textmill.files import write_bytes
from textmill.sweep.paired_differences import Summary
from textmill.sweep.run_ablation import Ablation, Row
from textmill.tracking.figure import BLUE, GREEN, GREY, ORANGE, PURPLE, new_figure, png, style
from textmill.tracking.fonts import drawable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLORS = (BLUE, ORANGE, GREEN, PURPLE, GREY)
_LINES = ("-", "--", "-.", ":")


def draw_ablation(result: Ablation, summaries: Sequence[Summary]) -> Path:
    """Return the path of ablation.png, drawn from a result with at least one finished run."""
    figure = new_figure(f"{result.folder.name}: {len(summaries)} variants", 11, max(4.2, 1.5 + 0.45 * len(summaries)))
    curves, differences = figure.subplots(1, 2)
    names, fonts = drawable([printable(summary.name) for summary in summaries])
    for index, (summary, name) in enumerate(zip(summaries, names)):
        color, line = _COLORS[index % len(_COLORS)], _LINES[index % len(_LINES)]
        _band(curves, result.rows[summary.name], result.metric, name, color, line)
    curves.set_title("Mean over seeds, and one standard deviation", fontsize=10.5, loc="left")
    curves.set_xlabel("step", fontsize=9)
    curves.set_ylabel(result.metric.replace("_", " "), fontsize=9)
    curves.legend(frameon=False, prop={"family": fonts, "size": 8.5})
    _differences(differences, summaries, names, fonts)
    for axes in (curves, differences):
        style(axes)
    target = result.folder / "ablation.png"
    write_bytes(target, png(figure))
    return target


def _band(axes: Axes, runs: Mapping[int, Sequence[Row]], metric: str, name: str, color: str, line: str) -> None:
    """Draw the mean at the steps that all runs of a variant have."""
    series = [
        {float(row.get("step") or 0): value for row in rows if (value := row.get(metric)) is not None}
        for rows in runs.values()
    ]
    steps = sorted(set.intersection(*(set(each) for each in series))) if series else []
    values = [[each[step] for each in series] for step in steps]
    means = [statistics.fmean(each) for each in values]
    axes.plot(steps, means, label=name, marker="o" if len(steps) < 2 else "", color=color, linestyle=line)
    if len(series) > 1:
        spread = [statistics.stdev(each) for each in values]
        low = [mean - each for mean, each in zip(means, spread)]
        high = [mean + each for mean, each in zip(means, spread)]
        axes.fill_between(steps, low, high, color=color, alpha=0.18, linewidth=0)


def _differences(axes: Axes, summaries: Sequence[Summary], names: Sequence[str], fonts: list[str]) -> None:
    """Draw the difference of each variant to the first, with its interval; below zero is better."""
    compared = [(name, each.difference) for name, each in zip(names, summaries) if each.difference is not None]
    axes.axvline(0, color=GREY, linewidth=0.8)
    for height, (_, difference) in enumerate(compared):
        half = 0.0 if math.isnan(difference.low) else difference.high - difference.mean
        axes.errorbar([difference.mean], [height], xerr=[half], fmt="o", color=BLUE, capsize=4)
    axes.set_yticks(range(len(compared)), [name for name, _ in compared], fontfamily=fonts, parse_math=False)
    axes.set_ylim(len(compared) - 0.5, -0.5)
    axes.set_title(
        f"Difference to {names[0]}, and 95 % interval", fontsize=10.5, loc="left", fontfamily=fonts, parse_math=False
    )
