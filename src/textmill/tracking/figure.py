"""What the pictures of runs and sweeps share: colours, style, and the PNG."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from textmill.console.number_format import printable
from textmill.tracking.fonts import drawable, quiet_font_search

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Distinguishable by colour-blind readers (Okabe and Ito, https://jfly.uni-koeln.de/color), and by marker and line.
BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#AA4499", "#666666"


def new_figure(title: str, width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches, made without pyplot, which keeps global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    (title,), fonts = drawable([printable(title)], "bold")
    figure.suptitle(title, fontsize=13, fontweight="bold", fontfamily=fonts, parse_math=False)
    return figure


def style(axes: Axes) -> None:
    """Give a panel its grid, two spines and small tick labels."""
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8.5)


def png(figure: Figure) -> bytes:
    """Return the figure as a PNG."""
    picture = io.BytesIO()
    with quiet_font_search():
        figure.savefig(picture, format="png")
    return picture.getvalue()
