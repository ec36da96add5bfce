"""What became of a text, as a page for people: REPORT.md in the folder of a prepared corpus."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from textmill import files
from textmill.runs.layout import CORPUS_REPORT


class CorpusNotes:
    """What people should know of a corpus, reported when it is made and saved with it.

    say: gets each sentence.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.sentences: list[str] = []

    def add(self, sentence: str) -> None:
        """Say a sentence that is true of the corpus and is said again whenever it is found in the cache."""
        self.sentences.append(sentence)
        self.say(sentence)


def write_report(folder: Path, report: dict[str, Any], notes: list[str]) -> None:
    """Write REPORT.md into the folder of a corpus."""
    files.write_text(folder / CORPUS_REPORT, page(report, notes))


def page(report: dict[str, Any], notes: list[str]) -> str:
    """Return the page as Markdown: a table of the sets, a table of what was left out of each, and the notes."""
    lines = ["# What became of the text", "", "| set | documents | kept | characters | kept | tokens |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    for name, found in report.items():
        numbers = ("documents", "kept_documents", "characters", "kept_characters", "tokens")
        lines.append(f"| {name} | " + " | ".join(f"{found[key]:,}" if key in found else "" for key in numbers) + " |")
    for name, found in report.items():
        dropped = list(found["dropped"].items())
        if found["repaired"]["documents"]:
            dropped.append(("encoding repaired (kept)", found["repaired"]))
        if not dropped:
            continue
        lines += ["", f"## {name}", ""]
        lines += ["| left out because | documents | characters | examples |", "|---|---:|---:|---|"]
        for reason, what in dropped:
            examples = ", ".join(f"`{source}`" for source in what["examples"])
            characters = f"{what['characters']:,}" if "characters" in what else ""
            lines.append(f"| {reason} | {what['documents']:,} | {characters} | {examples} |")
    if notes:
        lines += ["", "## Notes", "", *(f"- {note}" for note in notes)]
    return "\n".join(lines) + "\n"
