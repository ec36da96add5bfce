"""Measuring a model: means as sums over counts, on the whole of a data set, in a fixed order."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textmill.evaluation.folder import evaluate_model
    from textmill.evaluation.metrics import Metric
    from textmill.evaluation.run import evaluate

__all__ = ["Metric", "evaluate", "evaluate_model"]

_HOMES = {"Metric": "metrics", "evaluate": "run", "evaluate_model": "folder"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
