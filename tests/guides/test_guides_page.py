"""The page of the guides names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "guides.md").read_text(encoding="utf-8")


def test_every_row_names_a_test_that_exists() -> None:
    """Each row of a table that has tests names one, by file and function."""
    rows = [line for line in PAGE.splitlines() if line.startswith("|") and "::" in line]
    assert len(rows) > 60
    for row in rows:
        path, name = re.findall(r"`(tests/[\w/]+\.py)::(\w+)` \|$", row)[0]
        assert re.search(rf"^def {name}\(", (ROOT / path).read_text(encoding="utf-8"), flags=re.MULTILINE), row


def test_every_row_has_its_test() -> None:
    """No feature stands on the page without the test that runs it, but for the table of differences."""
    for section in PAGE.split("\n## ")[1:]:
        lines = [line for line in section.splitlines() if line.startswith("| ")]
        if not section.startswith("What is different"):
            assert all("::" in line for line in lines[1:]), section.partition("\n")[0]
