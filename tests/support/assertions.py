"""Which tests assert something, expect an error, or call a helper that does."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]

_EXPECTING = {"raises", "warns", "fail"}
Definition = ast.FunctionDef | ast.AsyncFunctionDef
Key = tuple[Path, str]
"""A function by its file and name."""


def find_tests_without_assertions() -> list[str]:
    """Return `file:test` of every test that only an accident can fail."""
    tests = [(path, each) for path in TESTS.rglob("test_*.py") for each in _functions(path)]
    asserting = _asserting()
    return sorted(
        f"{path.relative_to(TESTS)}:{each.name}"
        for path, each in tests
        if each.name.startswith("test_") and (path, each.name) not in asserting
    )


def _asserting() -> set[Key]:
    """Return the functions of tests and helpers that assert something, by themselves or by what they call."""
    defined = [(path, each) for path in TESTS.rglob("*.py") for each in _functions(path)]
    asserting: set[Key] = set()
    while True:
        now = {(path, each.name) for path, each in defined if _asserts(path, each, asserting)}
        if now <= asserting:
            return asserting
        asserting |= now


def _asserts(path: Path, function: Definition, asserting: set[Key]) -> bool:
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            checks = any(word.arg == "check" and getattr(word.value, "value", 0) is True for word in node.keywords)
            by_itself = checks or name in _EXPECTING or name.startswith("assert")
            if by_itself or any((other, name) in asserting for other in _scope(path)):
                return True
    return False


@cache
def _functions(path: Path) -> tuple[Definition, ...]:
    return tuple(node for node in ast.walk(_tree(path)) if isinstance(node, Definition))


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _scope(path: Path) -> tuple[Path, ...]:
    """Return the files whose functions and fixtures a file may call: itself, the conftests above, its helpers."""
    return path, *_conftests(path), *_helpers(path)


def _conftests(path: Path) -> Iterator[Path]:
    for folder in path.parents:
        if folder.is_relative_to(TESTS) and (folder / "conftest.py").exists():
            yield folder / "conftest.py"


def _helpers(path: Path) -> Iterator[Path]:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("support."):
            yield TESTS / f"{(node.module or '').replace('.', '/')}.py"
