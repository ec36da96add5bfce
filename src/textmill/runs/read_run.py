"""Read the files that describe a run. What is missing or damaged is empty: a run may be young, or half lost."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from textmill.files import read_object, read_rows, read_text
from textmill.runs.layout import CONFIG, ENVIRONMENT, STATUS
from textmill.runs.recorded_files import damage

_STATUS_TYPES = {"state": str, "reason": str, "step": int, "time": str, "files": dict}
_ENVIRONMENT_TYPES = {"identity": dict, "origins": dict, "kernels": dict, "store": str, "changes": list}
_CHANGE = {"setting", "was", "is", "after_step"}


def read_status(run: Path) -> dict[str, Any]:
    """Return status.json: how the run stands."""
    return _of_types(read_object(run / STATUS), _STATUS_TYPES)


def read_environment(run: Path) -> dict[str, Any]:
    """Return environment.json: what the run was made with; empty if it has changed since (see `damage`)."""
    return {} if ENVIRONMENT in damage(run) else _of_types(read_object(run / ENVIRONMENT), _ENVIRONMENT_TYPES)


def changes_of_settings(run: Path) -> list[dict[str, Any]]:
    """Return the settings that a resumed run changed, in order: `setting`, `was`, `is`, `after_step`."""
    found = read_environment(run).get("changes", [])
    return [
        each
        for each in found
        if isinstance(each, dict) and each.keys() >= _CHANGE and isinstance(each["after_step"], int)
    ]


def read_sections(run: Path) -> dict[str, dict[str, Any]]:
    """Return config.yaml: section -> setting -> value."""
    try:
        tree = yaml.safe_load(read_text(run / CONFIG))
    except (OSError, yaml.YAMLError, ValueError, AttributeError, RecursionError):
        return {}
    sections = tree.items() if isinstance(tree, dict) else ()
    return {str(name): values for name, values in sections if isinstance(values, dict)}


LARGEST = 1e100
"""Numbers of a log beyond it are taken for damage: no measurement is so large, and no picture can show it."""


def read_measurements(path: Path, say: Callable[[str], None] = lambda sentence: None) -> list[dict[str, float | None]]:
    """Return the rows of a log of numbers, each with a step; None is a value that was not finite.

    `say` is told how many lines are damaged and left out; values that are not numbers are left out without a word.
    """
    damaged: list[str] = []
    rows = []
    for row in read_rows(path, on_damage=damaged.append):
        numbers = {name: value for name, value in row.items() if value is None or _is_number(value)}
        step = numbers.get("step")
        if step is not None and step >= 0:
            rows.append(numbers)
    if damaged:
        say(f"{damaged[0]}; {len(damaged)} damaged lines of this log are left out")
    return rows


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def _of_types(found: dict[str, Any], types: dict[str, type]) -> dict[str, Any]:
    """Return `found` without entries whose type is not the one that textmill writes."""
    return {name: value for name, value in found.items() if isinstance(value, types.get(name, object))}
