"""The modules of textmill and the imports among them, read from the source without importing anything.

Every import counts: at the top, inside a function, under TYPE_CHECKING, and lazy ones that are written as strings
(`"textmill.cli.train:train"`). `from textmill.config import Config` is an import of the module that defines Config.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src"

_LAZY = re.compile(r"(textmill(?:\.\w+)+)(?::([\w.]+))?")


@cache
def modules() -> dict[str, Path]:
    """Return every module of the package by its dotted name; a package is named without `__init__`."""
    named = {}
    for path in sorted((SOURCE / "textmill").rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(modules()[module].read_text(encoding="utf-8"))


def is_facade(module: str) -> bool:
    """Return whether the module is the `__init__` of a package."""
    return modules()[module].name == "__init__.py"


@cache
def imports(module: str) -> frozenset[str]:
    """Return the modules of textmill that `module` imports."""
    found = {origin(*pair) for pair in _named(module)}
    return frozenset(found - {module, None})  # type: ignore[arg-type]


def import_graph() -> dict[str, frozenset[str]]:
    """Return the imports of every module."""
    return {module: imports(module) for module in modules()}


def circles(graph: dict[str, frozenset[str]]) -> list[list[str]]:
    """Return the strongly connected components of more than one module, each sorted (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in sorted(graph[module]):
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            start = stack.index(module)
            if len(stack) - start > 1:
                found.append(sorted(stack[start:]))
            del stack[start:]

    for module in graph:
        if module not in index:
            visit(module)
    return found


def _named(module: str) -> Iterator[tuple[str, str | None]]:
    """Yield (module, name in it or None) for every import that is written in the file."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{module} imports relative to itself"
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and (lazy := _LAZY.fullmatch(node.value)):
            yield lazy[1], lazy[2]


@cache
def origin(module: str, name: str | None) -> str | None:
    """Return the module of textmill that an import reaches in the end, or None for one of another project."""
    if module not in modules():
        return None
    if name is None:
        return module
    if f"{module}.{name}" in modules():
        return f"{module}.{name}"
    if is_facade(module):
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.ImportFrom) and node.module and name in {a.asname or a.name for a in node.names}:
                return origin(node.module, next(a.name for a in node.names if (a.asname or a.name) == name))
    return module
