"""The functions of textmill: how long they are, how many parameters they take, and which of them are public."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from support.import_graph import is_facade, modules, origin, tree

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Function(NamedTuple):
    """A function or method by its module and the names it is nested in, such as `Trainer.__init__`."""

    module: str
    name: str
    lines: int
    parameters: int

    @property
    def public(self) -> bool:
        """Whether users call it: exported, the constructor or a method of an exported class, or a verb."""
        first, *rest = self.name.split(".")
        if self.module.startswith("textmill.cli."):
            return not rest and (self.module, first) in verbs()
        return (self.module, first) in exported() and all(
            not part.startswith("_") or part == "__init__" for part in rest
        )


def functions() -> Iterator[Function]:
    """Yield every function of the package, methods and functions within functions too."""
    for module in modules():
        yield from _within(module, "", tree(module))


def _within(module: str, prefix: str, node: ast.AST) -> Iterator[Function]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Definition):
            name = f"{prefix}{child.name}"
            if not isinstance(child, ast.ClassDef):
                given = [
                    argument.arg for argument in (*child.args.posonlyargs, *child.args.args, *child.args.kwonlyargs)
                ]
                counted = len(given) - (given[:1] in (["self"], ["cls"]))
                yield Function(module, name, (child.end_lineno or 0) - child.lineno + 1, counted)
            yield from _within(module, f"{name}.", child)
        else:
            yield from _within(module, prefix, child)


@cache
def exported() -> frozenset[tuple[str, str]]:
    """Return (module, name) of everything in the `__all__` of textmill and its packages."""
    found = set()
    for module in filter(is_facade, modules()):
        for name in all_names(module):
            if home := origin(module, name):
                found.add((home, name))
    return frozenset(found)


def all_names(module: str) -> list[str]:
    """Return what the module's `__all__` lists."""
    for node in tree(module).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return ast.literal_eval(node.value)
    return []


@cache
def verbs() -> frozenset[tuple[str, str]]:
    """Return (module, name) of every function that is a verb of the command line."""
    from textmill.cli.verbs import VERBS

    found = {tuple(target.split(":")) for target, _ in VERBS.values()}
    for module in modules():
        for node in tree(module).body:
            if isinstance(node, ast.FunctionDef) and any("app.command" in ast.unparse(d) for d in node.decorator_list):
                found.add((module, node.name))
    return frozenset(found)  # type: ignore[arg-type]
