"""Trackers: what they are, and reporting to several of them without a failure ever stopping a run."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from textmill.errors import ConfigError, MissingExtraError
from textmill.imports import require
from textmill.tracking.mlflow import MLflow
from textmill.tracking.tensorboard import TensorBoard
from textmill.tracking.wandb import WandB


class Tracker(Protocol):
    """A service or file that a run reports to. Any object with these four methods is a tracker.

    Methods that a subclass inherits do nothing.
    """

    def start(self, run_info: Mapping[str, Any]) -> None:
        """Open it. `run_info`: "name" of the run, "config" as nested plain values, "step" of the last row that is kept.

        A step above 0 means that the run is resumed: what was reported after that step will be reported again.
        """

    def log(self, row: Mapping[str, Any], step: int) -> None:
        """Report one row of metrics, under the names of `metrics.METRICS` or the user's own, measured after `step`."""

    def text(self, name: str, text: str, step: int) -> None:
        """Report a text, such as a sample."""

    def finish(self, status: str) -> None:
        """Close it. `status` is "finished", "interrupted" or "failed"."""


class Trackers:
    """Reports to every tracker of `trackers`. One that fails is dropped with a sentence to `say`; the run continues."""

    def __init__(self, trackers: Sequence[Tracker], say: Callable[[str], None]) -> None:
        self.trackers = list(trackers)
        self.say = say

    def start(self, run_info: Mapping[str, Any]) -> None:
        """Open all. Raises MissingExtraError, before training starts, if a tracker's library is not installed."""
        self._each(lambda tracker: tracker.start(run_info))

    def start_again(self, run_info: Mapping[str, Any]) -> None:
        """Close all and open them as a resumed run does: what was reported after its step is reported again."""

        def again(tracker: Tracker) -> None:
            tracker.finish("interrupted")
            tracker.start(run_info)

        self._each(again)

    def log(self, row: Mapping[str, Any], step: int) -> None:
        """Report one row of metrics to all."""
        self._each(lambda tracker: tracker.log(row, step))

    def text(self, name: str, text: str, step: int) -> None:
        """Report a text to all."""
        self._each(lambda tracker: tracker.text(name, text, step))

    def finish(self, status: str) -> None:
        """Close all; calling it again does nothing."""
        self._each(lambda tracker: tracker.finish(status))
        self.trackers.clear()

    def _each(self, act: Callable[[Tracker], None]) -> None:
        for tracker in list(self.trackers):
            try:
                act(tracker)
            except MissingExtraError:
                raise
            except Exception as error:
                self.trackers.remove(tracker)
                reason = (str(error).splitlines() or [""])[0] or type(error).__name__
                self.say(f"{type(tracker).__name__} failed and gets no more reports from this run: {reason}")


def build_trackers(
    report_to: Sequence[str],
    log_dir: Path,
    *,
    store: Path | None = None,
    project: str | None = None,
    say: Callable[[str], None],
) -> Trackers:
    """Return the trackers named `tensorboard`, `wandb` and `mlflow`, writing below `log_dir`; not opened yet.

    log_dir: of this run alone, because the trackers keep the ids of their runs in it.
    store: folder of MLflow's local database, which runs that are compared share; None means log_dir.
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
        experiment = project or "textmill"
        if name == "tensorboard":
            trackers.append(TensorBoard(log_dir))
        elif name == "wandb":
            trackers.append(WandB(log_dir, experiment, say))
        else:
            trackers.append(MLflow(log_dir, experiment, say, store=store or log_dir))
    return Trackers(trackers, say)
