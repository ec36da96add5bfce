"""Pages that tell where things are name files that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PATH = re.compile(r"`((?:src|tests|docs|examples|benchmarks)/[\w./-]*|[A-Z]+\.md)`")


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/design.md"])
def test_named_files_exist(page: str) -> None:
    """Every path in backticks, from the top of the repository, is there."""
    named = PATH.findall((ROOT / page).read_text(encoding="utf-8"))
    assert len(named) > 10
    assert not [path for path in named if not (ROOT / path).exists()]


def test_named_tables_are_in_their_files() -> None:
    """A name in capitals that follows a file's path in CONTRIBUTING.md is defined in that file."""
    pairs = re.findall(r"`([\w./]+\.py)` `([A-Z]+)`", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert len(pairs) > 3
    for path, name in pairs:
        assert re.search(rf"^{name}\b.* = ", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), (path, name)


def test_named_modules_exist() -> None:
    """Every .py file that the design names, from the top of the repository or of the package, is there."""
    named = set(re.findall(r"[\w./-]+\.py\b", (ROOT / "docs" / "design.md").read_text(encoding="utf-8"))) - {"utils.py"}
    assert len(named) > 15
    assert not [path for path in named if not any((top / path).exists() for top in (ROOT, ROOT / "src" / "textmill"))]


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "README.md", "docs/index.md"])
def test_linked_files_exist(page: str) -> None:
    """Every relative link leads to a file or a folder."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text(encoding="utf-8"))
    assert links
    assert not [link for link in links if not ((ROOT / page).parent / link).exists()]


def test_the_test_command_is_the_readmes() -> None:
    """CONTRIBUTING.md repeats the command that the README gives and that is run on a clean clone."""
    command = next(line for line in (ROOT / "README.md").read_text().splitlines() if "-e '.[test]'" in line)
    assert command in (ROOT / "CONTRIBUTING.md").read_text()
