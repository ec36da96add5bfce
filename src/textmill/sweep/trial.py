"""One trial: a normal run in a folder of its own, which may be ended early when it falls behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textmill.config import Config, load_config
from textmill.console.screen import Screen
from textmill.runs.layout import is_run
from textmill.training.assemble import assemble
from textmill.training.loop import run_loop
from textmill.training.result import result_of
from textmill.training.run import Run

if TYPE_CHECKING:
    from optuna.trial import Trial


@dataclass(frozen=True)
class Outcome:
    """How a trial ended. value: the best of its evaluations, None without one. exit_code: that of its run."""

    value: float | None
    step: int
    pruned: bool
    exit_code: int


class Watch:
    """A tracker that tells Optuna of every evaluation and ends the run when Optuna gives it up."""

    def __init__(self, run: Run, trial: Trial, metric: str) -> None:
        self.run, self.trial, self.metric = run, trial, metric
        self.best: float | None = None
        self.pruned = False

    def start(self, run_info: Mapping[str, Any]) -> None:
        """The run is open when it is watched."""

    def log(self, row: Mapping[str, Any], step: int) -> None:
        """Report the row if it is an evaluation's."""
        value = row.get(self.metric)
        if value is None or value != value:
            return
        self.best = value if self.best is None else min(self.best, value)
        self.trial.report(value, step)
        if self.trial.should_prune():
            self.pruned = True
            self.run.progress.early_stopped = True  # the loop ends before its next step, and saves

    def text(self, name: str, text: str, step: int) -> None:
        """Samples do not count."""

    def finish(self, status: str) -> None:
        """Nothing is left to close."""


def trial_folder(sweep: Path, number: int) -> Path:
    """Return the folder of a trial, so that no trial overwrites another."""
    return sweep / f"trial-{number:04d}"


def run_trial(config: Config, values: Mapping[str, Any], folder: Path, trial: Trial, metric: str) -> Outcome:
    """Return how the run of `config` with `values` over it went in `folder`; one that was interrupted there goes on.

    Raises:
        TextmillError: values contradict each other or do not fit the text; weights are not finite; the disk is full.
    """
    goes_on = is_run(folder)
    settled = load_config(config, dict(values), output_dir=str(folder), resume="auto" if goes_on else False)
    with assemble(settled, screen=Screen(quiet=True, title=f"trial {trial.number}")) as run:
        watch = Watch(run, trial, metric)
        if goes_on and metric == "val_loss":
            watch.best = run.progress.best_val_loss
        run.reporting.trackers.trackers.append(watch)
        run_loop(run)
    result = result_of(run)
    return Outcome(watch.best, result.total_steps, watch.pruned, result.exit_code)
