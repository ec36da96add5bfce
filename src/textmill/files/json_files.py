"""JSON in files: read with one-line errors, written whole or not at all."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from textmill.errors import DataError, MissingInputError
from textmill.files.atomic import write_text
from textmill.files.regular_files import NotAFileError, open_regular, read_bytes
from textmill.files.stale_names import retry_stale


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON. Raises ValueError for infinities and NaN, which are not JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def plain_values(value: Any) -> Any:
    """Return `value` in JSON's own types: NaN and infinities become None, paths and other objects text."""
    if isinstance(value, Mapping):
        return {str(key): plain_values(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(entry) for entry in value]
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "item"):  # a number of NumPy or torch
        return plain_values(value.item())
    return str(value)


def parse_json(spelled: str | bytes) -> Any:
    """Return the value of a JSON text. Raises ValueError if it is not JSON or nested too deeply."""
    try:
        return json.loads(spelled)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


@contextmanager
def report_damage(what: Path | str, remedy: str) -> Iterator[None]:
    """Turn a missing value or a wrong type, inside the block, into a DataError: `what` is damaged, do `remedy`.

    For the few lines that take apart a description from a file, where checking every value would take more lines than
    the work itself.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        key = f"the key {error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())[:160]
        raise DataError(f"{what} is damaged ({key}): {remedy}") from error


def read_rows(path: Path, *, on_damage: Callable[[str], None] | None = None) -> Iterator[dict[str, Any]]:
    """Yield the rows of a JSON-lines file, such as a run's metrics.jsonl.

    A last line without its newline is still being written and is left out. A missing file has no rows.

    on_damage: told which line is not a JSON object, and left out; None: DataError is raised for it.
    """
    try:
        file = retry_stale(lambda: open_regular(path))
    except FileNotFoundError:
        return
    except NotAFileError as error:
        if on_damage is None:
            raise DataError(f"{path} {error.strerror}") from error
        on_damage(f"{path} {error.strerror}")
        return
    with file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                row = parse_json(line)
                problem = "not a JSON object"
            except ValueError as error:
                row, problem = None, f"not JSON ({error})"
            if isinstance(row, dict):
                yield row
            elif on_damage is None:
                raise DataError(f"{path}, line {number}: {problem}")
            else:
                on_damage(f"{path}, line {number}: {problem}")


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file. Raises MissingInputError, or DataError if it contains no object."""
    try:
        value = parse_json(read_bytes(path))
    except FileNotFoundError as error:
        raise MissingInputError(f"{path} does not exist") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} is not a JSON object")
    return value


def read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file, or an empty one when it is missing or damaged."""
    try:
        value = parse_json(read_bytes(path))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
