"""Where a run's numbers go besides its own files: TensorBoard, Weights & Biases, MLflow, a picture."""

from __future__ import annotations

from textmill.tracking.metrics import METRICS, MetricInfo
from textmill.tracking.plot import draw_training_curves
from textmill.tracking.tracker import Tracker, Trackers
from textmill.tracking.tracker_choice import build_trackers

__all__ = ["METRICS", "MetricInfo", "Tracker", "Trackers", "build_trackers", "draw_training_curves"]
