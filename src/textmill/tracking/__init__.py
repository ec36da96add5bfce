"""Where a run's numbers go besides its own files: TensorBoard, Weights & Biases, MLflow, a picture."""

from textmill.tracking.metric_table import METRICS, MetricInfo
from textmill.tracking.tracker import Tracker, Trackers, build_trackers
from textmill.tracking.training_curves import draw_training_curves

__all__ = ["METRICS", "MetricInfo", "Tracker", "Trackers", "build_trackers", "draw_training_curves"]
