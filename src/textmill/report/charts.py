"""Line charts as SVG: drawn here, shown by any browser without a script, in the colours of the page around them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 560, 250
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 12, 34
MOST_POINTS = 300
"""Points of one line; longer series are averaged down to it."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """One series of a chart. `kind` chooses colour and dashes (classes line-KIND of the page); NaN makes a gap."""

    label: str
    points: Sequence[Point]
    kind: str
    dots: bool = False


def chart(title: str, unit: str, lines: Sequence[Line], *, from_zero: bool = False, log: bool = False) -> str:
    """Return a figure with one SVG chart over steps, or a note where nothing was measured.

    from_zero: the axis begins at 0. log: a logarithmic axis, where all values are above 0.
    """
    drawn = [Line(line.label, _thin(line.points), line.kind, line.dots) for line in lines if _finite(line.points)]
    heading = (
        f"<figcaption>{escape(title)}{f' <small>{escape(unit)}</small>' if unit else ''}{_legend(drawn)}</figcaption>"
    )
    if not drawn:
        return f'<figure class="chart">{heading}<p class="empty">nothing was measured</p></figure>'
    points = [point for line in drawn for point in _finite(line.points)]
    low, high = min(y for _, y in points), max(y for _, y in points)
    log = log and low > 0
    ticks = _log_ticks(low, high) if log else nice_ticks(min(low, 0.0) if from_zero else low, high)
    forward = math.log10 if log else float
    bottom, top = forward(min(low, ticks[0])), forward(max(high, ticks[-1]))
    last = max(x for x, _ in points) or 1.0

    def point(x: float, y: float) -> Point:
        across = LEFT + (WIDTH - LEFT - RIGHT) * x / last
        up = (forward(y) - bottom) / ((top - bottom) or 1.0)
        return across, HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * up

    body = [_grid(ticks, point), _steps_axis(last, point)]
    body += [_draw(line, point) for line in drawn]
    label = escape(f"{title} over steps", quote=True)
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(body)}</svg>'
    return f'<figure class="chart">{heading}{svg}</figure>'


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about `count` round numbers from at or below `low` to at or above `high`."""
    span = (high - low) or abs(high)
    rough = (span if span > 1e-300 else 1.0) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, max(last, first + 1) + 1)]


def short(value: float) -> str:
    """Return a number in few characters: 0, 0.002, 1.25, 12k, 3.4M."""
    size = abs(value)
    for bound, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= bound:
            scale = 1e3 if unit == "k" else bound
            return f"{value / scale:.4g}{unit}"
    return "0" if size < 1e-300 else f"{value:.4g}" if size >= 1e-3 else f"{value:.0e}".replace("e-0", "e-")


def _log_ticks(low: float, high: float) -> list[float]:
    bounds = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [factor * 10.0**power for power in bounds for factor in (1, 2, 5)]
    inside = [tick for tick in ticks if low <= tick <= high]
    return inside if len(inside) >= 2 else nice_ticks(low, high)[1:] or [high]


def _finite(points: Sequence[Point]) -> list[Point]:
    return [point for point in points if math.isfinite(point[0]) and math.isfinite(point[1])]


def _thin(points: Sequence[Point]) -> list[Point]:
    """Return at most MOST_POINTS points, each the mean of its neighbours where there were more."""
    if len(points) <= MOST_POINTS:
        return list(points)
    size = math.ceil(len(points) / MOST_POINTS)
    groups = [points[at : at + size] for at in range(0, len(points), size)]
    return [(group[-1][0], sum(y for _, y in group) / len(group)) for group in groups]


def _grid(ticks: Sequence[float], point: Callable[[float, float], Point]) -> str:
    parts = []
    for tick in ticks:
        _, y = point(0.0, tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 7}" y="{y + 3.5:.1f}" text-anchor="end">{short(tick)}</text>')
    return "".join(parts)


def _steps_axis(last: float, point: Callable[[float, float], Point]) -> str:
    y = HEIGHT - BOTTOM + 17
    inside = [tick for tick in nice_ticks(0.0, last) if tick <= last * 1.001]
    parts = []
    for tick in inside:
        x = LEFT + (WIDTH - LEFT - RIGHT) * tick / last
        parts.append(f'<text class="tick" x="{x:.1f}" y="{y}" text-anchor="middle">{short(tick)}</text>')
    return "".join(parts) + f'<text class="tick" x="{WIDTH - RIGHT}" y="{HEIGHT - 3}" text-anchor="end">step</text>'


def _draw(line: Line, point: Callable[[float, float], Point]) -> str:
    """Return a path with gaps where values are missing, and a dot with its value in words on each point asked for."""
    path, pen_up = [], True
    for x, y in line.points:
        if not math.isfinite(y):
            pen_up = True
            continue
        across, down = point(x, y)
        path.append(f"{'M' if pen_up else 'L'}{across:.1f} {down:.1f}")
        pen_up = False
    marks = ""
    if line.dots or len(line.points) == 1:
        for x, y in _finite(line.points):
            across, down = point(x, y)
            told = escape(f"{line.label}: {y:.4g} at step {x:,.0f}")
            where = f'cx="{across:.1f}" cy="{down:.1f}" r="3"'
            marks += f'<circle class="dot-{line.kind}" {where}><title>{told}</title></circle>'
    return f'<path class="line-{line.kind}" d="{"".join(path)}"/>{marks}'


def _legend(lines: Sequence[Line]) -> str:
    if len(lines) < 2:
        return ""
    keys = "".join(
        f'<span><svg viewBox="0 0 22 8" aria-hidden="true"><path class="line-{line.kind}" d="M1 4L21 4"/></svg>'
        f"{escape(line.label)}</span>"
        for line in lines
    )
    return f'<span class="legend">{keys}</span>'
