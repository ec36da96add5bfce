"""Measuring a model: means as sums over counts, on the whole of a data set, in a fixed order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textmill.imports import lazy_attributes

if TYPE_CHECKING:
    from textmill.evaluation.evaluate_batches import evaluate
    from textmill.evaluation.evaluate_saved_model import evaluate_model
    from textmill.evaluation.metrics import Metric

__all__ = ["Metric", "evaluate", "evaluate_model"]

__getattr__ = lazy_attributes(
    __name__, {"metrics": ["Metric"], "evaluate_batches": ["evaluate"], "evaluate_saved_model": ["evaluate_model"]}
)
