"""Text from a model: sampling, the token loop with its cache, streaming and stopping."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textmill.generation.loop import generate
    from textmill.generation.sampling import Sampling
    from textmill.generation.text import generate_text

__all__ = ["Sampling", "generate", "generate_text"]

_HOMES = {"Sampling": "sampling", "generate": "loop", "generate_text": "text"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
