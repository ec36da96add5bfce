"""Packages that only some texts need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from textmill.errors import MissingExtraError


def extra(module: str, purpose: str) -> Any:
    """Return the module of an optional package, imported now; `purpose` begins the error, as in "reading a.pdf".

    Raises MissingExtraError when it is not there, or lacks something itself.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        reason = (
            "which is missing" if getattr(error, "name", None) in (package, module, None) else f"which fails ({error})"
        )
        raise MissingExtraError(f"{purpose} needs {package}, {reason}: pip install 'textmill[data]'") from error
