"""Findings about files and documents, each told once however often it was made."""

from __future__ import annotations


class Notes:
    """Findings while reading, each said once however many files it concerns."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[str, int]] = {}

    def add(self, finding: str, where: str) -> None:
        """`finding`, a sentence without full stop, holds for `where` too."""
        first, count = self._found.get(finding, (where, 0))
        self._found[finding] = (first, count + 1)

    def sentences(self) -> list[str]:
        """Return one line per finding, naming the first place and how many more there are."""
        return [
            f"{finding}: {first}" + (f" and {count - 1:,} more" if count > 1 else "")
            for finding, (first, count) in self._found.items()
        ]
