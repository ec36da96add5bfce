"""The rooms and their order: nothing flows upstream."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.functions import all_names, functions
from support.import_graph import SOURCE, circles, import_graph, is_facade, modules, origin

LAYERS = [
    {"errors"},
    {"files", "hub_access", "imports", "version"},
    {"console"},
    {"config", "machine"},
    {"tokenizers", "planning", "runs"},
    {"data.sources"},
    {"data.reading"},
    {"data.preparing"},
    {"data.store", "data.examine"},
    {"data.prepare"},
    {"data.batches"},
    {"data"},
    {"model"},
    {"engine", "optim", "tracking", "checkpoint"},
    {"generation"},
    {"evaluation"},
    {"training"},
    {"sweep", "report"},
    {"cli"},
]
"""Bottom to top; a room imports rooms of lower layers and itself, never a sibling. `data` is the `__init__` alone."""

ROOT = SOURCE.parent

WITHOUT_TORCH = [
    "textmill",
    "textmill.cli.main",
    "textmill.config",
    "textmill.planning.parameter_count",
    "textmill.planning.run_length",
    "textmill.planning.plan",
    "textmill.runs.read_run",
    "textmill.report.html_page",
    "textmill.sweep.space",
    "textmill.tokenizers",
    "textmill.data.reading.read_documents",
    "textmill.data.prepare",
    "textmill.data.examine.examine_corpus",
]

BANNED_CALLS = {
    ("pickle", "load"),
    ("pickle", "loads"),
    ("torch", "load"),
    ("yaml", "load"),
    ("yaml", "unsafe_load"),
    ("os", "system"),
    ("marshal", "loads"),
    ("shelve", "open"),
}


def room(module: str) -> tuple[int, str]:
    """Return the level and the name of the room that a module belongs to. The package itself is above everything."""
    inside = module.removeprefix("textmill").removeprefix(".")
    if inside in {"", "__main__"}:
        return len(LAYERS), "textmill"
    found = [
        (level, name) for level, layer in enumerate(LAYERS) for name in layer if f"{inside}.".startswith(f"{name}.")
    ]
    assert found, f"{module} is in no layer: give its room one in LAYERS"
    return max(found, key=lambda pair: len(pair[1]))


def python_files() -> list[Path]:
    return sorted(modules().values())


def files_of_tests() -> list[Path]:
    return sorted((ROOT / "tests").rglob("*.py"))


def test_every_import_goes_down() -> None:
    """No module imports one of a higher layer or of a sibling room."""
    upward = [
        f"{module} -> {other}"
        for module, others in import_graph().items()
        for other in others
        if room(other)[1] != room(module)[1] and room(other)[0] >= room(module)[0]
    ]
    assert upward == []


def test_the_design_shows_these_layers() -> None:
    """The table in docs/design.md has the same rooms in the same order, the top first."""
    page = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (`[^|]+) \|", page, re.MULTILINE)
    shown = {int(level): set(re.findall(r"`([^`]+)`", rooms)) for level, rooms in rows}
    assert shown == dict(enumerate(LAYERS))


def test_no_modules_import_each_other() -> None:
    """The graph of imports has no circle, inside a room either."""
    assert circles(import_graph()) == []


def test_functions_are_short() -> None:
    """No function is longer than 60 lines, its docstring included."""
    assert [each for each in functions() if each.lines > 60] == []


def test_few_parameters() -> None:
    """Outside the public API no function takes more than 7 parameters: what travels together is one value."""
    assert [each for each in functions() if each.parameters > 7 and not each.public] == []


def test_lazy_names_are_no_submodules() -> None:
    """A lazily exported name that is a submodule's too would be either, depending on what ran before."""
    clashes = [
        f"{package}.{name}"
        for package in filter(is_facade, modules())
        if "lazy_attributes(" in modules()[package].read_text(encoding="utf-8")
        for name in all_names(package)
        if f"{package}.{name}" in modules() and origin(package, name) != f"{package}.{name}"
    ]
    assert clashes == []


def test_nothing_on_the_way_to_a_refusal_imports_torch() -> None:
    """Configuration, planning, tokenizers, the reading half of data and the command line come without torch."""
    program = f"import sys\nfor name in {WITHOUT_TORCH!r}:\n    __import__(name)\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("path", [*python_files(), *files_of_tests()], ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_small(path: Path) -> None:
    """No file is longer than 400 lines: one that grows past it has more than one idea."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_nothing_runs_code_from_data(path: Path) -> None:
    """No pickle, no torch.load, no unsafe YAML, no shell, no eval or exec anywhere."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
            assert (function.value.id, function.attr) not in BANNED_CALLS
        if isinstance(function, ast.Name):
            assert function.id not in {"eval", "exec"}
        for keyword in node.keywords:
            assert not (
                keyword.arg in {"allow_pickle", "trust_remote_code", "shell"}
                and isinstance(keyword.value, ast.Constant)
                and keyword.value.value is True
            )
