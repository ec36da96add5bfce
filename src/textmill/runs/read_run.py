"""Read the files that describe a run. What is missing or damaged is empty: a run may be young, or half lost."""

from pathlib import Path
from typing import Any

import yaml

from textmill.files import parse_json
from textmill.runs.layout import CONFIG, ENVIRONMENT, STATUS

_STATUS_TYPES = {"state": str, "reason": str, "step": int, "time": str}
_ENVIRONMENT_TYPES = {"identity": dict, "origins": dict, "kernels": dict, "store": str}


def read_status(run: Path) -> dict[str, Any]:
    """Return status.json: how the run stands."""
    return _of_types(read_object(run / STATUS), _STATUS_TYPES)


def read_environment(run: Path) -> dict[str, Any]:
    """Return environment.json: what the run was made with."""
    return _of_types(read_object(run / ENVIRONMENT), _ENVIRONMENT_TYPES)


def read_sections(run: Path) -> dict[str, dict[str, Any]]:
    """Return config.yaml: section -> setting -> value."""
    try:
        tree = yaml.safe_load((run / CONFIG).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, ValueError, AttributeError, RecursionError):
        return {}
    sections = tree.items() if isinstance(tree, dict) else ()
    return {str(name): values for name, values in sections if isinstance(values, dict)}


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file, or an empty one when it is missing or damaged."""
    try:
        value = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _of_types(found: dict[str, Any], types: dict[str, type]) -> dict[str, Any]:
    """Return `found` without entries whose type is not the one that textmill writes."""
    return {name: value for name, value in found.items() if isinstance(value, types.get(name, object))}
