"""One trial: a normal run in its own folder, which is ended early if it falls behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textmill.checkpoint.checkpoint_store import CheckpointStore
from textmill.checkpoint.saved_settings import settings_in
from textmill.config import Config, load_config
from textmill.console.screen import Screen
from textmill.errors import DataError
from textmill.runs.layout import CHECKPOINTS, CONFIG, METRICS, is_run
from textmill.runs.read_run import read_measurements
from textmill.sweep.journal import KEPT
from textmill.tracking.tracker import Tracker
from textmill.training.assemble import assemble
from textmill.training.loop import run_loop
from textmill.training.result import result_of
from textmill.training.run import Run

if TYPE_CHECKING:
    from optuna.trial import Trial


@dataclass(frozen=True)
class Outcome:
    """The result of a trial. value: the best evaluation, or None. exit_code: of its run."""

    value: float | None
    step: int
    pruned: bool
    exit_code: int


class Watch(Tracker):
    """A tracker that reports every evaluation to Optuna and ends the run if Optuna prunes it."""

    def __init__(self, run: Run, trial: Trial, metric: str) -> None:
        self.run, self.trial, self.metric = run, trial, metric
        self.best: float | None = None
        self.pruned = False

    def log(self, row: Mapping[str, Any], step: int) -> None:
        """Report the row to Optuna if it is an evaluation."""
        value = row.get(self.metric)
        if value is None or value != value:
            return
        self.best = value if self.best is None else min(self.best, value)
        self.trial.report(value, step)
        if self.trial.should_prune():
            self.pruned = True
            self.run.ends_early = True


def trial_folder(sweep: Path, number: int) -> Path:
    """Return the folder of a trial."""
    return sweep / f"trial-{number:04d}"


def refuse_other_values(folder: Path, values: Mapping[str, Any]) -> None:
    """Raise DataError if the run in `folder`, which a trial would continue, was trained with other values."""
    checkpoints = CheckpointStore(folder / CHECKPOINTS, say=lambda sentence: None)
    good = next((step for step in reversed(checkpoints.steps()) if not checkpoints.verify(step)), None)
    saved = settings_in(checkpoints.path(good), folder / CONFIG) if good is not None else None
    if saved is None:
        return
    trained = saved.values()
    if other := [
        f"{name} {trained[name]!r} and not {value!r}" for name, value in values.items() if trained[name] != value
    ]:
        raise DataError(f"the run in {folder} was trained with {', '.join(other)}: the journal was cut; {KEPT}")


def run_trial(config: Config, values: Mapping[str, Any], folder: Path, trial: Trial, metric: str) -> Outcome:
    """Run `config` with `values` over it in `folder`, or resume that run; return its outcome.

    Raises:
        TextmillError: values contradict each other or do not fit the text; weights are not finite; the disk is full.
    """
    resumes = is_run(folder)
    settled = load_config(config, dict(values), output_dir=str(folder), resume="auto" if resumes else False)
    screen = Screen(quiet=True, title=f"trial {trial.number}")
    with assemble(settled, screen=screen, on_signal="return") as run:
        watch = Watch(run, trial, metric)
        if resumes:  # the log was cut to the checkpoint
            rows = read_measurements(folder / METRICS)
            watch.best = min((value for row in rows if (value := row.get(metric)) is not None), default=None)
        run.reporting.trackers.trackers.append(watch)
        run_loop(run)
    result = result_of(run)
    return Outcome(watch.best, result.total_steps, watch.pruned, result.exit_code)
