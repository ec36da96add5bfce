"""Style and types are part of the tests."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.assertions import find_tests_without_assertions
from support.private_names import private_names_outside

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def test_ruff_has_nothing_to_say() -> None:
    """The linter and the formatter are content with every file."""
    for arguments in (("ruff", "check", "."), ("ruff", "format", "--check", ".")):
        done = run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "folders", [["src"], pytest.param(["tests", "examples", "benchmarks"], marks=pytest.mark.slow)], ids=" ".join
)
def test_types_are_right(folders: list[str]) -> None:
    """The type checker finds no error."""
    done = run("pyright", "--pythonpath", sys.executable, *folders)
    assert done.returncode == 0, done.stdout


_DIFFERS = re.compile(
    r"^\s*(import|from) (os|signal|socket|select|selectors|resource|fcntl|ctypes|multiprocessing|mmap|pwd|time)\b"
    r"|torch\.distributed",
    re.MULTILINE,
)


@pytest.mark.parametrize("system", ["Windows", "Darwin"])
def test_types_are_right_on(system: str) -> None:
    """The type checker finds no name that Windows or macOS lack where a module is imported that differs there."""
    paths = [path for path in (ROOT / "src").rglob("*.py") if _DIFFERS.search(path.read_text(encoding="utf-8"))]
    assert len(paths) > 20
    done = run("pyright", "--pythonpath", sys.executable, "--pythonplatform", system, *map(str, paths))
    assert done.returncode == 0, done.stdout


def test_no_file_names_a_host() -> None:
    """Pins and settings name packages, never where to get them."""
    for name in ("constraints.txt", "pyproject.toml", "README.md", ".ci/run"):
        assert not re.search(r"https?://|index-url|find-links", (ROOT / name).read_text(encoding="utf-8")), name


def test_every_test_asserts_something() -> None:
    """No test consists of calls alone, which only an accident would fail."""
    assert find_tests_without_assertions() == []


def test_nothing_outside_needs_a_private_name() -> None:
    """Tests, benchmarks and examples use and replace public names of textmill only."""
    assert private_names_outside() == []
