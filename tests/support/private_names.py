"""Where tests, benchmarks and examples use private names of textmill."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_PRIVATE = re.compile(r"_[a-zA-Z]\w*")
_DOTTED = re.compile(r"textmill(\.\w+)*\._[a-zA-Z]\w*")


def private_names_outside() -> list[str]:
    """Return `file:line name` of every private name of a textmill module or class that they read or replace."""
    paths = [path for folder in ("tests", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.py")]
    return sorted(f"{path.relative_to(ROOT)}:{line} {name}" for path in paths for line, name in _private(path))


def _private(path: Path) -> Iterator[tuple[int, str]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    ours: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "textmill":
            ours |= {alias.asname or alias.name for alias in node.names}
            yield from ((node.lineno, alias.name) for alias in node.names if _PRIVATE.fullmatch(alias.name))
        if isinstance(node, ast.Import):
            ours |= {alias.asname or "textmill" for alias in node.names if alias.name.split(".")[0] == "textmill"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ours:
            if _PRIVATE.fullmatch(node.attr):
                yield node.lineno, f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.Call) and len(node.args) > 1 and isinstance(node.args[0], ast.Name):
            second = node.args[1]
            text = second.value if isinstance(second, ast.Constant) and isinstance(second.value, str) else ""
            if node.args[0].id in ours and _PRIVATE.fullmatch(text):
                yield node.lineno, f"{node.args[0].id}.{text}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _DOTTED.fullmatch(node.value):
            yield node.lineno, node.value
