"""The rooms and their order: nothing flows upstream."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "textmill"

LAYERS = [
    {"errors"},
    {"files", "names", "extras", "version"},
    {"config", "machine", "console"},
    {"tokenizers", "planning"},
    {"data"},
    {"model"},
    {"engine", "optim", "tracking", "checkpoint"},
    {"generation"},
    {"evaluation"},
    {"training"},
    {"serving", "dashboard", "sweep", "report"},
    {"cli"},
]
"""Bottom to top; a room may import rooms of lower layers and itself, never a sibling."""

WITHOUT_TORCH = [
    "textmill",
    "textmill.cli.main",
    "textmill.config",
    "textmill.planning.parameters",
    "textmill.planning.run_length",
    "textmill.planning.plan",
    "textmill.report.page",
    "textmill.sweep.space",
    "textmill.tokenizers",
    "textmill.data.reading.read",
    "textmill.data.prepare",
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


def python_files() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def imported_rooms(path: Path) -> set[str]:
    """Return the rooms of textmill that a file imports, at its top or inside a function."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        rooms |= {parts[1] for module in modules if (parts := module.split("."))[0] == "textmill" and len(parts) > 1}
    return rooms


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_room_imports_only_from_below(path: Path) -> None:
    """Every import inside a room points to a lower layer or to the room itself."""
    parts = path.relative_to(SOURCE).parts
    if len(parts) == 1 and parts[0] in {"__init__.py", "__main__.py"}:
        pytest.skip("the package's own front door may name every room")
    room = parts[0].removesuffix(".py")
    known = set().union(*LAYERS)
    level = next(index for index, layer in enumerate(LAYERS) if room in layer)
    allowed = set().union(*LAYERS[:level]) | {room}
    assert (imported_rooms(path) & known) <= allowed


def test_nothing_on_the_way_to_a_refusal_imports_torch() -> None:
    """Configuration, planning, tokenizers, the reading half of data and the command line come without torch."""
    program = f"import sys\nfor name in {WITHOUT_TORCH!r}:\n    __import__(name)\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_stay_small(path: Path) -> None:
    """No file is longer than 400 lines: one that grows past it holds more than one idea."""
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
