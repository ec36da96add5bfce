"""Findings about files and documents, each reported once however often it occurs."""


class Notes:
    """Collects findings, with the first file, the last and the number of files of each."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[str, str, int]] = {}

    def add(self, finding: str, where: str) -> None:
        """Add `where`, once in succession, to a finding, which is a sentence without a full stop."""
        first, last, count = self._found.get(finding, (where, "", 0))
        self._found[finding] = (first, where, count + (where != last))

    def sentences(self) -> list[str]:
        """Return one line per finding, with the first file and how many more there are."""
        return [
            f"{finding}: {first}" + (f" and {count - 1:,} more" if count > 1 else "")
            for finding, (first, _, count) in self._found.items()
        ]
