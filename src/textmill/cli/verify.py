"""textmill verify: whether all files of a run are intact."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from textmill.cli.help_pages import Json
from textmill.console.standard_streams import field, write, write_json
from textmill.errors import DataError


def verify(run: Annotated[Path, Parameter(name="RUN")], /, *, json: Json = False) -> int:
    """Check every checkpoint, model, log, tokenizer and token store of a run against what was recorded.

    Exit code 0: everything is intact. 65: something is damaged; the output names it.

    Parameters
    ----------
    run
        A run, a checkpoint or a prepared corpus.

    Examples
    --------
    textmill verify runs/book
    """
    from textmill.report.verify_files import verify as find

    findings = []
    for finding in find(run):
        findings.append(finding)
        if not json:
            state = "damaged" if finding.problems else "absent" if finding.absent else "intact"
            field(state, finding.name + (f": {finding.note}" if finding.note else ""))
            for problem in finding.problems:
                field("", problem)
    damaged = [finding.name for finding in findings if finding.problems]
    if json:
        write_json({"whole": not damaged, "findings": [asdict(one) for one in findings]})
    elif not damaged:
        write("")
        write(f"{run} is intact")
    if damaged:
        raise DataError(f"{run}: damaged: {', '.join(damaged)}")
    return 0
