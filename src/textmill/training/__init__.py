"""The loop, what it works with, and what it leaves behind."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textmill.training.loop import steps
    from textmill.training.result import TrainingResult
    from textmill.training.run import Run
    from textmill.training.start import train

__all__ = ["Run", "TrainingResult", "steps", "train"]

_HOMES = {"Run": "run", "TrainingResult": "result", "steps": "loop", "train": "start"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
