"""From the names in `report_to` to live trackers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from textmill.errors import ConfigError
from textmill.tracking.mlflow import MLflow
from textmill.tracking.tensorboard import TensorBoard
from textmill.tracking.tracker import Tracker, Trackers, missing_library
from textmill.tracking.wandb import WandB


def build_trackers(
    report_to: Sequence[str], log_dir: Path, *, project: str | None = None, say: Callable[[str], None]
) -> Trackers:
    """Return the trackers named `tensorboard`, `wandb` and `mlflow`, writing below `log_dir`; nothing is opened yet.

    log_dir: of this run alone, because the trackers keep the ids of their runs in it.
    project: of Weights & Biases and the experiment of MLflow; None means textmill.

    Raises:
        ConfigError: for another name.
        MissingExtraError: a tracker's library is not installed.
    """
    trackers: list[Tracker] = []
    for name in dict.fromkeys(report_to):
        if name in ("tensorboard", "wandb", "mlflow") and find_spec(name) is None:
            raise missing_library(name)
        if name == "tensorboard":
            trackers.append(TensorBoard(log_dir))
        elif name == "wandb":
            trackers.append(WandB(log_dir, project or "textmill", say))
        elif name == "mlflow":
            trackers.append(MLflow(log_dir, project or "textmill", say))
        else:
            raise ConfigError(f"report_to: unknown tracker {name!r}; choose among tensorboard, wandb, mlflow")
    return Trackers(trackers, say)
