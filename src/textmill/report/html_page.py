"""A run as one HTML file: curves, samples, configuration, machine, how to repeat it. Needs nothing but a browser.

Everything that comes from the run is escaped; there is no script, and no request leaves the page.
"""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from textmill.console.command_line import quoted
from textmill.console.number_format import as_text, count, duration, plural, printable
from textmill.report.charts import Line, chart
from textmill.report.run_record import Record, Row
from textmill.runs import layout
from textmill.runs.recorded_files import damage
from textmill.tracking.metric_table import METRICS

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
MOST_SAMPLES = 40


def render(record: Record) -> str:
    """Return the page as HTML."""
    title = escape(record.name)
    parts = [
        f"<header><h1>{title}</h1>{_badge(record)}<p>{escape(_subtitle(record))}</p></header>",
        _damage(record),
        f'<section class="tiles">{"".join(_tiles(record))}</section>',
        f'<section class="charts">{"".join(_charts(record))}</section>',
        _advice(record.advice),
        _samples(record),
        _evaluations(record.evaluations),
        _configuration(record),
        _environment(record),
        _repeat(record),
    ]
    style = Path(__file__).with_name("page_style.css").read_text(encoding="utf-8")
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{title} · textmill</title><style>{style}</style>"
    )
    page = f'<!doctype html><html lang="en"><head>{head}</head><body><main>{"".join(parts)}</main></body></html>\n'
    return printable(page)  # no lone surrogates of a damaged file, which are not UTF-8, and no turned text


def _badge(record: Record) -> str:
    reason = str(record.status.get("reason", ""))
    told = f"{record.state}: {reason}" if reason and reason != record.state else record.state
    return f'<span class="badge {escape(record.state)}">{escape(told)}</span>'


def _damage(record: Record) -> str:
    """Return which files have changed since the run wrote them: what the page shows of them may be wrong."""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in damage(record.folder).values())
    return f"<section><h2>Damaged files</h2><ul>{items}</ul></section>" if items else ""


def _subtitle(record: Record) -> str:
    values, made = record.values, record.environment
    shape = f"{values.get('architecture', 'model')}, {values.get('num_layers', '?')} layers of width "
    shape += f"{values.get('d_model', '?')}, context {values.get('max_seq_len', '?')}"
    parameters = made.get("identity", {}).get("parameters")
    shape += f", {count(parameters)} parameters" if isinstance(parameters, int) else ""
    machine = f"{made.get('device', '?')}, {made.get('precision', '?')}"
    return " · ".join([shape, machine, str(record.status.get("time", ""))]).rstrip(" ·")


def _tiles(record: Record) -> Iterable[str]:
    best, last = record.best, record.last
    step = best.get("step")
    at = f"at step {step:,}" if isinstance(step, int) else ""
    facts = [
        ("validation loss", _figure(best.get("val_loss"), 4), f"lowest, {at}" if at else ""),
        ("bits per byte", _figure(best.get("val_bits_per_byte"), 3), "of validation text"),
        ("perplexity", _figure(best.get("val_perplexity"), 2), at),
        (
            "training loss",
            _figure(best.get("train_loss", last.get("train_loss")), 4),
            f"nats per token, {at}".rstrip(", "),
        ),
        ("steps", f"{last.get('step', 0):,}", f"{last['epoch']:.2f} epochs" if "epoch" in last else ""),
        ("tokens", count(last["tokens"]) if "tokens" in last else "", "trained on"),
        ("speed", count(record.speed or 0), "tokens/s, median"),
        ("time", duration(last["elapsed_time"]) if "elapsed_time" in last else "", "in all"),
    ]
    for name, figure, note in facts:
        if figure:
            lines = f"<h2>{name}</h2><strong>{escape(figure)}</strong><small>{escape(note)}</small>"
            yield f'<div class="tile">{lines}</div>'


def _figure(value: Any, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _series(rows: Sequence[Row], name: str) -> list[tuple[float, float]]:
    return [(row["step"], row[name]) for row in rows if name in row and "step" in row]


def _charts(record: Record) -> Iterable[str]:
    evaluations, reports = record.evaluations, record.reports
    loss = [
        Line("training, at each report", _series(reports, "train_loss"), "faint"),
        Line("training, mean", _series(evaluations, "train_loss"), "first"),
        Line("validation", _series(evaluations, "val_loss"), "second", dots=len(evaluations) <= 60),
    ]
    yield chart("Loss", METRICS["val_loss"].unit, loss)
    bits = _series(evaluations, "val_bits_per_byte")
    if bits:
        yield chart("Validation, bits per byte", "bits/byte", [Line("bits per byte", bits, "second", dots=True)])
    else:
        curve = [Line("perplexity", _series(evaluations, "val_perplexity"), "second", dots=True)]
        yield chart("Validation perplexity", "", curve, log=True)
    for name in ("learning_rate", "tokens_per_second", "grad_norm"):
        info, rows = METRICS[name], reports or evaluations
        label = info.label[0].upper() + info.label[1:]
        line = [Line(info.label, _series(rows, name), "first")]
        yield chart(label, info.unit, line, from_zero=name != "grad_norm", log=name == "grad_norm")
    for part in ("weights", "gradients", "outputs"):
        yield from _layers(part, reports)
    for name in sorted({name for row in evaluations for name in row if name not in METRICS and "step" in row}):
        yield chart(name, "", [Line(name, _series(evaluations, name), "second", dots=True)])
    accuracy = _series(evaluations, "val_accuracy")
    if accuracy:
        yield chart("Validation accuracy", "", [Line("accuracy", accuracy, "second", dots=True)], from_zero=True)


def _layers(part: str, reports: Sequence[Row]) -> Iterable[str]:
    """Return a chart of the first, the middle and the last layer, if --layer-statistics measured them."""
    names = [name for name in dict.fromkeys(name for row in reports for name in row) if name.startswith(f"{part}/")]
    names = [name for name in names if name != f"{part}/rest"]
    chosen = dict.fromkeys([*names[:1], *names[len(names) // 2 : len(names) // 2 + 1], *names[-1:]])
    kinds = ("first", "faint", "second")
    if chosen:
        lines = [Line(name, _series(reports, name), kind) for name, kind in zip(chosen, kinds)]
        yield chart(f"{part.capitalize()}, root mean square", "", lines, log=True)


def _advice(sentences: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f"<section><h2>Advice</h2><ul>{items}</ul></section>" if sentences else ""


def _samples(record: Record) -> str:
    """Return the sample of the best model, and the newest others to unfold."""
    best = record.best_sample
    others = [_sample(row) for row in reversed(record.samples) if row is not best][: MOST_SAMPLES - 1]
    if not record.samples:
        return ""
    unfold = f"<details><summary>{plural(len(others), 'other')}</summary>{''.join(others)}</details>" if others else ""
    note = ", at the lowest validation loss" if best.get("step") == record.best.get("step") else ""
    return f"<section><h2>Samples</h2>{_sample(best, note)}{unfold}</section>"


def _sample(row: Row, note: str = "") -> str:
    step = row.get("step")
    heading = f"step {step:,}{note}" if isinstance(step, int) else "step ?"
    text = escape(str(row.get("text", "")))
    return f'<figure class="sample"><figcaption>{heading}</figcaption><pre dir="auto">{text}</pre></figure>'


def _evaluations(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    columns = ["step", "epoch", "train_loss", "val_loss", "val_perplexity", "val_bits_per_byte", "val_accuracy"]
    columns = [name for name in columns if any(name in row for row in rows)]
    cells = [[as_text(row.get(name), 4) for name in columns] for row in rows]
    table = _table(cells, [METRICS[name].label for name in columns], kind="figures")
    return f"<section><details><summary>All {len(rows)} evaluations</summary>{table}</details></section>"


def _table(rows: Iterable[Sequence[str]], head: Sequence[str] = (), *, kind: str = "settings") -> str:
    """Return a table of these cells that scrolls sideways if it is wide; `kind` is its class in the style."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    top = f"<thead>{line(head, 'th')}</thead>" if head else ""
    body = "".join(line(cells, "td") for cells in rows)
    return f'<div class="scroll"><table class="{kind}">{top}<tbody>{body}</tbody></table></div>'


def _configuration(record: Record) -> str:
    if not record.config:
        return ""
    chosen, others = [], []
    for section, settings in record.config.items():
        for setting in settings:
            origin, value = record.origin(setting), as_text(record.shown_value(setting))
            (others if origin == "default" else chosen).append((f"{section}.{setting}", value, origin))
    head = ("setting", "value", "where from")
    tables = _table(chosen, head) if chosen else ""
    if others:
        summary = f"<summary>{len(others)} settings with their default values</summary>"
        tables += f"<details>{summary}{_table(others, head)}</details>"
    return f"<section><h2>Configuration</h2>{tables}</section>"


def _environment(record: Record) -> str:
    rows = []
    for name, value in record.environment.items():
        if name not in ("origins", "changes"):
            nested = value.items() if isinstance(value, dict) else [("", value)]
            rows += [(f"{name} {inner}".strip(), as_text(one)) for inner, one in nested]
    return f"<section><h2>Machine and data</h2>{_table(rows)}</section>" if rows else ""


def _repeat(record: Record) -> str:
    folder = quoted(record.folder)
    commands = {
        "Repeat the run": f"textmill train --config {quoted(record.folder / layout.CONFIG)}",
        "Resume it": f"textmill train --output-dir {folder} --resume",
        "Generate text": f"textmill generate {folder}",
        "Evaluate it on other text": f"textmill evaluate {folder} other.txt",
    }
    if not record.status.get("resumable"):
        del commands["Resume it"]
    lines = "".join(f"<dt>{name}</dt><dd><pre>{escape(command)}</pre></dd>" for name, command in commands.items())
    return f"<section><h2>How to repeat it</h2><dl>{lines}</dl></section>"
