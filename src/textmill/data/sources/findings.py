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

    def take(self, others: "Notes") -> None:
        """Add what others have found, of files that are not among those of this one."""
        for finding, (first, last, count, cases) in others._found.items():
            known_first, _, known_count, known_cases = self._found.get(finding, (first, "", 0, 0))
            self._found[finding] = (known_first, last, known_count + count, known_cases + cases)

    def sentences(self) -> list[str]:
        """Return one line per finding, with the first file and how many more there are."""
        return [
            f"{finding.replace('{number}', f'{cases:,}')}: {first}" + (f" and {count - 1:,} more" if count > 1 else "")
            for finding, (first, _, count, cases) in self._found.items()
        ]
