"""What became of a text, as a page for people: REPORT.md in the folder of a prepared corpus."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from textmill import files
from textmill.data.preparing.scrub import MOST_LINES
from textmill.runs.layout import CORPUS_REPORT


@dataclass(frozen=True)
class CorpusNotes:
    """What people should know of a corpus, said when it is made and saved with it."""

    say: Callable[[str], None]
    sentences: list[str] = field(default_factory=list)

    def add(self, sentence: str) -> None:
        """Say a sentence that is true of the corpus and is said again whenever it is found in the cache."""
        self.sentences.append(sentence)
        self.say(sentence)


CANNOT_BE_READ = "it cannot be read"
"""The reason of files that are skipped for what is in them; each is listed with what that is."""


def write_report(
    folder: Path, report: dict[str, Any], notes: list[str], skipped: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Write REPORT.md into the folder of a corpus: a table of the sets, of what was left out of each, and the notes.

    skipped: reason -> the files of folders and patterns that were not read.
    """
    lines = ["# What became of the text", "", "| set | documents read | kept | characters read | kept | tokens |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    for name, found in report.items():
        numbers = ("documents", "kept_documents", "characters", "kept_characters", "tokens")
        lines.append(f"| {name} | " + " | ".join(f"{found[key]:,}" if key in found else "" for key in numbers) + " |")
    for name, found in report.items():
        dropped = list(found["dropped"].items())
        if found["repaired"]["documents"]:
            dropped.append(("encoding repaired (kept)", found["repaired"]))
        if dropped or found.get("scrubbed"):
            lines += ["", f"## {name}"]
        if dropped:
            lines += ["", "| left out because | documents | characters | examples |", "|---|---:|---:|---|"]
        for reason, what in dropped:
            examples = ", ".join(f"`{source}`" for source in what["examples"])
            characters = f"{what['characters']:,}" if "characters" in what else ""
            lines.append(f"| {reason} | {what['documents']:,} | {characters} | {examples} |")
        lines += _scrubbed(found.get("scrubbed", {}))
    if notes:
        lines += ["", "## Notes", "", *(f"- {note}" for note in notes)]
    if skipped:
        lines += ["", "## Files that were skipped"]
    for reason, paths in (skipped or {}).items():
        lines += ["", f"Because {reason} ({len(paths):,}):", "", *(f"- `{path}`" for path in paths)]
    files.write_text(folder / CORPUS_REPORT, "\n".join(lines) + "\n")


def _scrubbed(found: Mapping[str, Any]) -> list[str]:
    """Return what was replaced by placeholders, and the lines that it was in, as lines of the report."""
    if not found:
        return []
    table = ["", "| scrubbed | values |", "|---|---:|"]
    table += [f"| {label} | {what['number']:,} |" for label, what in found.items()]
    for label, what in found.items():
        more = " (the first of them)" if len(what["lines"]) == MOST_LINES else ""
        table += ["", f"{label} was in{more}:", "", *(f"- `{line}`" for line in what["lines"])]
    return table
