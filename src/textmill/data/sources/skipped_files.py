"""Files that a folder or a pattern contains and that are not read, with the reasons."""

from collections.abc import Iterable
from pathlib import Path

NAMED = 3
"""Files that a sentence names of those skipped for one reason; the record of a corpus has all of them."""


class SkippedFiles:
    """Collects the files that are skipped, by reason, each once for one reason.

    Attributes:
        by_reason: reason, a clause such as "it is a run folder", -> files and folders, in order.
    """

    def __init__(self) -> None:
        self.by_reason: dict[str, list[str]] = {}

    def add(self, reason: str, path: Path) -> None:
        """Add `path`."""
        known = self.by_reason.setdefault(reason, [])
        if not known or known[-1] != str(path):
            known.append(str(path))

    def add_all(self, others: "SkippedFiles") -> None:
        """Add what others have collected, of which some may be known."""
        for reason, paths in others.by_reason.items():
            known = self.by_reason.setdefault(reason, [])
            seen = set(known)
            known += [path for path in paths if path not in seen]

    def sentences(self) -> list[str]:
        """Return one line per reason, with the first files and how many more there are."""
        return [f"skipped, because {reason}: {first_names(paths)}" for reason, paths in self.by_reason.items()]


def first_names(paths: Iterable[object]) -> str:
    """Return the first of `paths`, and how many more there are, as in "a.png, b.png, c.png and 9 more"."""
    names = list(map(str, paths))
    rest = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + rest
