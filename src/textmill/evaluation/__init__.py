"""Measuring a model: means as sums over counts, on the whole of a data set, in a fixed order."""

from textmill.evaluation.evaluate_batches import evaluate
from textmill.evaluation.evaluate_saved_model import evaluate_model
from textmill.evaluation.metrics import Metric

__all__ = ["Metric", "evaluate", "evaluate_model"]
