"""Findings about files and documents, each reported once however often it occurs."""


class Notes:
    """Collects findings, with the first file, the last, the number of files and the number of cases of each."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[str, str, int, int]] = {}

    def add(self, finding: str, where: str, number: int = 1) -> None:
        """Add `where`, once in succession, to a finding, which is a sentence without a full stop.

        number: of cases there; their sum replaces `{number}` in the finding.
        """
        first, last, count, cases = self._found.get(finding, (where, "", 0, 0))
        self._found[finding] = (first, where, count + (where != last), cases + number)

    def sentences(self) -> list[str]:
        """Return one line per finding, with the first file and how many more there are."""
        return [
            f"{finding.replace('{number}', f'{cases:,}')}: {first}" + (f" and {count - 1:,} more" if count > 1 else "")
            for finding, (first, _, count, cases) in self._found.items()
        ]
