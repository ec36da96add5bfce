"""textmill report: a run as one page."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from textmill.cli.help_pages import Output
from textmill.console.standard_streams import note, write
from textmill.files import write_text
from textmill.report.run_record import open_record
from textmill.runs import layout
from textmill.runs.recorded_files import damage


def report(run: Annotated[Path, Parameter(name="RUN")], /, *, output: Output | None = None) -> None:
    """Write a report of a run as one HTML page: curves, samples, configuration, machine, how to repeat it.

    The page needs no network and no script; it can be mailed and printed.

    Parameters
    ----------
    run
        The run folder.
    output
        File to write. Unset: report.html in the run folder.

    Examples
    --------
    textmill report runs/book
    """
    from textmill.report.html_page import render

    record = open_record(run)
    for sentence in damage(run).values():
        note(sentence)
    target = output or run / layout.REPORT
    write_text(target, render(record))
    write(str(target))
