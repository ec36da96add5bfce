"""textmill runs: what was trained, in a table; how runs differ."""

from __future__ import annotations

import json as json_format
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from textmill.cli.help_pages import Json

app = App(name="runs", help="List runs, and compare them.")


@app.command(name="list")
@app.default
def runs(folder: Annotated[Path, Parameter(name="FOLDER")] = Path("runs"), /, *, json: Json = False) -> None:
    """List the runs below a folder: state, steps, best validation loss, bits per byte, when.

    Parameters
    ----------
    folder
        Folder that holds runs.

    Examples
    --------
    textmill runs
    textmill runs sweeps/widths --json
    textmill runs compare runs/book runs/book-2
    """
    from textmill.console.terminal import write
    from textmill.report.run_record import find_records

    summaries = [record.summary() for record in find_records(folder)]
    if json:
        write(json_format.dumps(summaries, indent=2))
        return
    if not summaries:
        write(f"no runs in {folder}")
        return
    head = ("run", "state", "steps", "best val loss", "bits/byte", "tok/s", "when")
    rows = [
        (
            str(Path(one["folder"]).relative_to(folder)) if one["folder"] != str(folder) else one["name"],
            one["state"],
            _text(one["step"]),
            _text(one["best_val_loss"]),
            _text(one["bits_per_byte"]),
            _text(one["tokens_per_second"], "{:,.0f}"),
            str(one["time"] or "")[:16].replace("T", " "),
        )
        for one in summaries
    ]
    write(table([head, *rows], right={2, 3, 4, 5}))


@app.command
def compare(*run: Annotated[Path, Parameter(name="RUN")], json: Json = False) -> None:
    """Show in which settings runs differ, and what came of it.

    Parameters
    ----------
    run
        Folders of two or more runs.

    Examples
    --------
    textmill runs compare runs/book runs/book-2
    """
    from textmill.console.terminal import write
    from textmill.errors import ConfigError
    from textmill.report.compare import differences, results, same_text
    from textmill.report.run_record import open_record

    if len(run) < 2:
        raise ConfigError("compare: name two runs or more")
    records = [open_record(one) for one in run]
    differing, measured = differences(records), results(records)
    if json:
        names = [str(record.folder) for record in records]
        shown = {"runs": names, "same_data": same_text(records), "settings": differing, "results": measured}
        write(json_format.dumps(shown, indent=2))
        return
    rows = [("", *(record.name for record in records))]
    rows += [(leaf, *map(_text, values)) for leaf, values in differing.items()]
    rows += [("", *("" for _ in records))] if differing else []
    rows += [(name.replace("_", " "), *map(_STYLES.get(name, _text), values)) for name, values in measured.items()]
    write(table(rows, right=set()))
    if not same_text(records):
        write("\nthe runs saw different text: compare bits per byte, not losses")


def _speed(value: float | None) -> str:
    from textmill.console.screen import rate

    return "–" if value is None else rate(value)


def _time(value: float | None) -> str:
    from textmill.console.screen import duration

    return "–" if value is None else duration(value)


_STYLES = {"tokens_per_second": _speed, "elapsed_time": _time}
"""Results that are not plain numbers -> how they are shown."""


def table(rows: Sequence[Sequence[str]], *, right: set[int]) -> str:
    """Return rows as columns of equal width, those in `right` aligned to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if at in right else cell.ljust(width) for at, (cell, width) in enumerate(zip(row, widths))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _text(value: Any, style: str = "{:.4f}") -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        if value == int(value):
            return f"{value:g}"
        return style.format(value) if abs(value) >= 1e-3 or value == 0 else f"{value:g}"
    if isinstance(value, list):
        return ",".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
