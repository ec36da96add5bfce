"""The table of an ablation, for the screen and as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

from textmill.files import write_bytes
from textmill.sweep.paired_differences import Summary

HEAD = ("variant", "seeds", "mean", "deviation", "difference", "95 % interval", "effect")


def table_rows(summaries: Sequence[Summary]) -> list[tuple[str, ...]]:
    """Return a row of texts per variant, under HEAD; the first variant is what the others are compared with."""
    rows = []
    for summary in summaries:
        difference = summary.difference
        compared = (
            ("", "", "the others are compared with it")
            if difference is None
            else (f"{difference.mean:+.4f}", _interval(difference.low, difference.high), difference.verdict)
        )
        rows.append(
            (summary.name, str(len(summary.values)), f"{summary.mean:.4f}", _number(summary.deviation), *compared)
        )
    return rows


def write_tables(folder: Path, summaries: Sequence[Summary]) -> list[Path]:
    """Write ablation.md, .csv and .tex; return their paths. CSV has every digit, and a column for each seed."""
    rows = table_rows(summaries)
    texts = {"ablation.md": _markdown(rows), "ablation.csv": _csv(summaries), "ablation.tex": _latex(rows)}
    for name, text in texts.items():
        write_bytes(folder / name, text.encode())
    return [folder / name for name in texts]


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}"


def _interval(low: float, high: float) -> str:
    return "" if math.isnan(low) else f"{low:+.4f} to {high:+.4f}"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = [HEAD, ("---", *["---:"] * 5, "---"), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _csv(summaries: Sequence[Summary]) -> str:
    seeds = sorted({seed for summary in summaries for seed in summary.values})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ("variant", "mean", "deviation", "difference", "error", "low", "high", "effect")
    writer.writerow([*head, *(f"seed {seed}" for seed in seeds)])
    for summary in summaries:
        found = summary.difference
        compared = ("",) * 5 if found is None else (found.mean, found.error, found.low, found.high, found.verdict)
        by_seed = [summary.values.get(seed, "") for seed in seeds]
        writer.writerow([summary.name, summary.mean, summary.deviation, *compared, *by_seed])
    return text.getvalue()


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "+": "$+$", "-": "$-$",
}  # fmt: skip


def _latex(rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return " & ".join("".join(_LATEX.get(letter, letter) for letter in cell) for cell in cells) + r" \\" + "\n"

    body = "".join(line(row) for row in rows)
    return "\\begin{tabular}{lrrrrrl}\n\\hline\n" + line(HEAD) + "\\hline\n" + body + "\\hline\n\\end{tabular}\n"
