"""The pages of the documentation as what a reader would type: their code blocks, in order.

A block is what stands between fences. The HTML comment before it, if any, speaks to the test and not to the reader:

    <!-- not run: reason -->    the next block is not run
    <!-- given: runs/book -->   a small trained run is there before the page begins

A block whose first line is a comment with a file's name, such as `# run.yaml`, is written to that file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_FENCE = re.compile(r"^( *)```(\w*)\s*$")
_NOT_RUN = re.compile(r"<!-- not run: (.+?) -->")
_GIVEN = re.compile(r"<!-- given: (\S+) -->")
_FILE = re.compile(r"(?:#|//) ([\w./-]+\.(?:py|yaml|yml|json|toml|txt))")


@dataclass(frozen=True)
class Block:
    """A code block: its language, its text, the number of its first line, and why it is not run, if so."""

    language: str
    text: str
    line: int
    not_run: str | None

    @property
    def file_name(self) -> str | None:
        """The file that the block's first line names, or None."""
        named = _FILE.fullmatch(self.text.partition("\n")[0].strip())
        return named[1] if named else None


def blocks(page: Path) -> Iterator[Block]:
    """Yield the code blocks of `page`. Raises AssertionError for one that is never closed."""
    not_run: str | None = None
    language, start, indent = "", 0, ""
    lines: list[str] | None = None
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if lines is None:
            if comment := _NOT_RUN.search(line):
                not_run = comment[1]
            elif fence:
                indent, language, start, lines = fence[1], fence[2], number + 1, []
            elif line.strip() and not line.startswith("<!--"):
                not_run = None
        elif fence and not fence[2] and fence[1] == indent:
            yield Block(language, "\n".join(lines) + "\n", start, not_run)
            lines, not_run = None, None
        else:
            lines.append(line.removeprefix(indent))
    assert lines is None, f"{page.name}:{start}: the block is not closed"


def given(page: Path) -> list[str]:
    """Return the runs that are there before the page begins."""
    return _GIVEN.findall(page.read_text(encoding="utf-8"))


def commands(text: str) -> list[str]:
    """Return the commands of a shell block: comments and blank lines gone, continued lines joined."""
    joined = text.replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip() and not line.strip().startswith("#")]


def dialogue(text: str) -> list[tuple[str, list[str]]]:
    """Return (command, the lines it prints) of a console block, in which commands stand behind `$ `."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif line.startswith("> ") and found and found[-1][0].endswith("\\"):
            found[-1] = (found[-1][0][:-1] + line[2:], [])
        elif found:
            found[-1][1].append(line)
    return found
