"""Make trackers from the names in `report_to`."""

from collections.abc import Callable, Sequence
from pathlib import Path

from textmill.errors import ConfigError
from textmill.imports import require
from textmill.tracking.mlflow import MLflow
from textmill.tracking.tensorboard import TensorBoard
from textmill.tracking.tracker import Tracker, Trackers
from textmill.tracking.wandb import WandB


def build_trackers(
    report_to: Sequence[str], log_dir: Path, *, project: str | None = None, say: Callable[[str], None]
) -> Trackers:
    """Return the trackers named `tensorboard`, `wandb` and `mlflow`, writing below `log_dir`; not opened yet.

    log_dir: of this run alone, because the trackers keep the ids of their runs in it.
    project: of Weights & Biases and the experiment of MLflow; None means textmill.

    Raises:
        ConfigError: for another name.
        MissingExtraError: a tracker's library is not installed.
    """
    trackers: list[Tracker] = []
    for name in dict.fromkeys(report_to):
        if name not in ("tensorboard", "wandb", "mlflow"):
            raise ConfigError(f"report_to: unknown tracker {name!r}; choose among tensorboard, wandb, mlflow")
        require(name, f"report_to {name}", "track")
        if name == "tensorboard":
            trackers.append(TensorBoard(log_dir))
        else:
            trackers.append({"wandb": WandB, "mlflow": MLflow}[name](log_dir, project or "textmill", say))
    return Trackers(trackers, say)
