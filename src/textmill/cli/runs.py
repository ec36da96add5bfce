"""textmill runs: what was trained, in a table; how runs differ."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from textmill.cli.help_pages import CacheDir, Json
from textmill.console.command_line import quoted
from textmill.console.number_format import as_text, duration, rate
from textmill.console.standard_streams import note, table, write, write_json, write_lines
from textmill.errors import ConfigError
from textmill.report.run_record import Record, find_records, open_record
from textmill.runs.recorded_files import damage

ON_TEXT = "bits_per_byte_on_text"

app = App(name="runs", help="List runs, and compare them.")


@app.command(name="list")
@app.default
def runs(folder: Annotated[Path, Parameter(name="FOLDER")] = Path("runs"), /, *, json: Json = False) -> None:
    """List the runs below a folder: state, steps, best validation loss, bits per byte, time.

    Parameters
    ----------
    folder
        Folder that contains runs.

    Examples
    --------
    textmill runs
    textmill runs sweeps/widths --json
    textmill runs compare runs/book runs/book-2
    """
    records = find_records(folder)
    _note_damage(records)
    summaries = [record.summary() for record in records]
    if json:
        write_json(summaries)
        return
    if not summaries:
        write(f"no runs in {folder}")
        return
    head = ("run", "state", "steps", "best val loss", "bits/byte", "tok/s", "when")
    rows: list[tuple[str, ...]] = [head]
    for one in summaries:
        name = str(Path(one["folder"]).relative_to(folder)) if one["folder"] != str(folder) else one["name"]
        losses = as_text(one["best_val_loss"], 4), as_text(one["bits_per_byte"], 4)
        speed = "–" if one["tokens_per_second"] is None else f"{one['tokens_per_second']:,.0f}"
        when = str(one["time"] or "")[:16].replace("T", " ")
        rows.append((name, one["state"], as_text(one["step"], 0), *losses, speed, when))
    write_lines(table(rows, right={2, 3, 4, 5}))


@app.command
def compare(
    *run: Annotated[Path, Parameter(name="RUN")],
    on: Annotated[str | None, Parameter(name="--on")] = None,
    trust: bool = False,
    cache_dir: CacheDir = None,
    json: Json = False,
) -> None:
    """Compare runs: the settings in which they differ, and their results.

    Parameters
    ----------
    run
        Folders of two or more runs.
    on
        Text on which all models are evaluated: bits per byte of it compare any two models.
    trust
        Import the code that a run names for its model.

    Examples
    --------
    textmill runs compare runs/book runs/book-2
    textmill runs compare runs/book runs/plays --on held-out.txt
    """
    from textmill.report.compare import differences, on_one_text, results, same_text

    if len(run) < 2:
        raise ConfigError("compare: name at least two runs")
    records = [open_record(one) for one in run]
    _note_damage(records)
    differing, measured = differences(records), results(records)
    same = same_text(records)
    if on is not None:
        measured[ON_TEXT] = on_one_text(records, on, cache_dir=cache_dir, trust=trust, say=note)
    if json:
        names = [str(record.folder) for record in records]
        changes = [record.changes for record in records]
        write_json({"runs": names, "same_data": same, "settings": differing, "changes": changes, "results": measured})
        return
    rows = [("", *(record.name for record in records))]
    rows += [(setting, *map(as_text, values)) for setting, values in differing.items()]
    rows += [("", *("" for _ in records))] if differing else []
    rows += [(name.replace("_", " "), *(_result(name, one) for one in values)) for name, values in measured.items()]
    write_lines(table(rows, right=set()))
    if not same:
        command = quoted("textmill", "runs", "compare", *run, "--on", "FILE")
        compares = "only bits per byte on text compares them" if on else f"evaluate all on one text with: {command}"
        write("")
        write(f"the runs read different text or tokens, so their own figures do not compare: {compares}")


def _result(name: str, result: Any) -> str:
    if result is not None and name == "tokens_per_second":
        return rate(result)
    if result is None and name == ON_TEXT:
        return "not measured"
    return duration(result) if result is not None and name == "elapsed_time" else as_text(result, 4)


def _note_damage(records: Iterable[Record]) -> None:
    """Say which files have changed since their run wrote them: what is read from them may be wrong."""
    for record in records:
        for sentence in damage(record.folder).values():
            note(sentence)
