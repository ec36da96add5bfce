"""The list of a folder's files that textmill writes into the folder: each with its size and SHA-256."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from textmill.files.hashes import file_problem, with_own_hash
from textmill.files.json_files import parse_json
from textmill.files.regular_files import read_bytes

MANIFEST = "MANIFEST.json"

FORMAT = 1


def render_manifest(step: int | None, listed: Mapping[str, dict[str, Any]]) -> bytes:
    """Return the manifest of these files, its own hash included, as bytes that depend on the content alone.

    step: of the checkpoint that the files are from, if they are from one.
    """
    return _render({"format": FORMAT, "step": step, "files": dict(sorted(listed.items()))})


def _render(content: dict[str, Any]) -> bytes:
    return (json.dumps(with_own_hash(content), indent=1) + "\n").encode()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest in `folder`, its step and its files. Raises OSError, and ValueError if it has changed."""
    written = read_bytes(folder / MANIFEST)
    content = parse_json(written)
    if not isinstance(content, dict) or _render(content) != written:
        raise ValueError("its own SHA-256 differs")
    if content.get("format") != FORMAT or not isinstance(content.get("files"), dict) or "step" not in content:
        raise ValueError(f"its format is {content.get('format')}, and this version reads format {FORMAT}")
    return content


def listed_problems(folder: Path, names: Collection[str]) -> list[str]:
    """Return what is wrong with those of the files `names` that the folder's manifest lists; [] without a manifest."""
    try:
        listed = read_manifest(folder)["files"]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        return [f"{MANIFEST} cannot be read ({error.strerror or error})"]
    except ValueError as error:
        return [f"{MANIFEST} is damaged ({error})"]
    found = {name: file_problem(folder / name, listed[name]) for name in names if name in listed}
    return [f"{name} {problem}" for name, problem in found.items() if problem]


def without_manifest(problems: list[str]) -> str:
    """Return how to use a folder that is not as its manifest lists it, and what that costs."""
    if problems[0].startswith(f"{MANIFEST} "):
        return (
            f"Without {MANIFEST} nobody can tell whether the other files are as they were written; to use them "
            f"unchecked, delete {MANIFEST}"
        )
    return f"If you changed it yourself, delete {MANIFEST}"
