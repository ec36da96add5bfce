"""The loop, what it works with, and what it leaves behind."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textmill.training.checkpoint import load_checkpoint
    from textmill.training.loop import steps
    from textmill.training.result import TrainingResult
    from textmill.training.run import Run
    from textmill.training.start import train
    from textmill.training.trainer import Trainer, train_model

__all__ = ["Run", "Trainer", "TrainingResult", "load_checkpoint", "steps", "train", "train_model"]

_HOMES = {
    "Run": "run",
    "Trainer": "trainer",
    "TrainingResult": "result",
    "load_checkpoint": "checkpoint",
    "steps": "loop",
    "train": "start",
    "train_model": "trainer",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
