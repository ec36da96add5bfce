"""Run a sweep: ask for values, train, record the result, until enough trials are finished."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textmill import files
from textmill.checkpoint.run_lock import RunLock
from textmill.config import Config
from textmill.config.consistency import validates
from textmill.errors import CannotWriteError, ConfigError, RunExistsError, TextmillError
from textmill.runs.layout import is_run
from textmill.sweep.space import Dimension
from textmill.sweep.study import DEFINITION, import_optuna, objective_of, open_study, settle_definition
from textmill.sweep.trial import run_trial, trial_folder

if TYPE_CHECKING:
    import optuna

Say = Callable[[str], None]

FAILURES_ALLOWED = 5
"""Trials in a row that may fail before the sweep ends: then the cause is not their values."""


@dataclass(frozen=True)
class FinishedTrial:
    """One finished trial. state: complete, pruned or failed. value: of the metric, lower is better."""

    number: int
    state: str
    value: float | None
    values: dict[str, Any]
    folder: Path


@dataclass(frozen=True)
class SweepResult:
    """The result of a sweep: its trials in the order of their start, and the metric that compares them."""

    folder: Path
    metric: str
    trials: list[FinishedTrial]
    exit_code: int = 0

    @property
    def ranked(self) -> list[FinishedTrial]:
        """Return the trials with a value, the best first; complete ones before pruned ones of the same value."""
        measured = [trial for trial in self.trials if trial.value is not None]
        return sorted(measured, key=lambda trial: (trial.value, trial.state != "complete"))

    @property
    def best(self) -> FinishedTrial | None:
        """Return the best complete trial, or None."""
        return next((trial for trial in self.ranked if trial.state == "complete"), None)


def sweep(
    config: Config,
    dimensions: Sequence[Dimension],
    folder: Path,
    *,
    trials: int,
    max_seconds: float | None = None,
    say: Say = lambda sentence: None,
) -> SweepResult:
    """Return the result of `trials` runs of `config` with values from `dimensions`; continue a sweep in `folder`.

    Every trial is a normal run in its own folder. Failed trials count; an interrupted one is finished first. After
    `max_seconds` no further trial begins.

    Raises:
        ConfigError: there is no validation set to compare trials by, or every trial refuses its settings.
        ResumeError: `folder` contains another sweep. RunExistsError: it contains a run, or another process uses it.
        MissingExtraError: Optuna is not installed.
    """
    import_optuna()
    if not validates(config):
        raise ConfigError("a sweep compares validation losses: give val_data or a val_split above 0")
    if is_run(folder) and not (folder / DEFINITION).exists():
        raise RunExistsError(f"{folder} contains a run: give the sweep its own --output-dir")
    with ExitStack() as stack:
        files.make_directory(folder)
        stack.enter_context(RunLock(folder, say=say))
        settle_definition(folder, config, dimensions)
        study = open_study(folder, config.training.seed)
        search = _Search(study, config, dimensions, folder, objective_of(dimensions), say)
        code = search.run(trials, max_seconds)
        finished = [finished_trial(trial, folder) for trial in _finished(study)]
        return SweepResult(folder, search.metric, finished, code)


@dataclass(frozen=True)
class _Search:
    """The search in one folder: where trials are recorded, what varies over which configuration, what compares them."""

    study: optuna.Study
    config: Config
    dimensions: Sequence[Dimension]
    folder: Path
    metric: str
    say: Say

    def run(self, trials: int, max_seconds: float | None) -> int:
        """Run trials until `trials` are finished or the time is up; return the exit code of the sweep."""
        deadline = None if max_seconds is None else time.monotonic() + max_seconds
        failed = 0
        while (done := len(_finished(self.study))) < trials:
            if deadline is not None and time.monotonic() >= deadline:
                self.say(f"the time is up after {done} of {trials} trials; repeat the command to continue")
                return 0
            error, code = self._try(_next(self.study))
            if code:
                return code
            failed = 0 if error is None else failed + 1
            if error is not None and failed >= FAILURES_ALLOWED:
                raise error
        return 0

    def _try(self, trial: optuna.Trial) -> tuple[TextmillError | None, int]:
        """Run one trial and report it; return its error, and an exit code other than 0 when a signal ended it."""
        states = import_optuna().trial.TrialState
        values = {dimension.setting: dimension.suggest(trial) for dimension in self.dimensions}
        described = ", ".join(f"{name} {_short(value)}" for name, value in values.items())
        started = time.monotonic()
        try:
            outcome = run_trial(self.config, values, trial_folder(self.folder, trial.number), trial, self.metric)
        except CannotWriteError:
            raise  # a full disk is not the fault of the values
        except TextmillError as error:
            return self._fail(trial, described, error), 0
        if outcome.exit_code:
            self.say(f"trial {trial.number:<4} interrupted; repeat the command to continue it")
            return None, outcome.exit_code
        if outcome.value is None:
            return self._fail(trial, described, ConfigError("the validation loss was never finite")), 0
        self.study.tell(trial, None if outcome.pruned else outcome.value, states.PRUNED if outcome.pruned else None)
        note = f", pruned at step {outcome.step}" if outcome.pruned else ""
        seconds = time.monotonic() - started
        self.say(f"trial {trial.number:<4} {self.metric} {outcome.value:.4f}  {described}{note} ({seconds:.0f} s)")
        return None, 0

    def _fail(self, trial: optuna.Trial, described: str, error: TextmillError) -> TextmillError:
        """Record and report a failed trial; return its error."""
        self.study.tell(trial, state=import_optuna().trial.TrialState.FAIL)
        self.say(f"trial {trial.number:<4} failed      {described}: {error}")
        return error


def _next(study: optuna.Study) -> optuna.Trial:
    """Return the trial that an earlier process left unfinished, or a new one."""
    optuna = import_optuna()
    for unfinished in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        return optuna.trial.Trial(study, unfinished._trial_id)
    return study.ask()


def _finished(study: optuna.Study) -> list[Any]:
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]


def finished_trial(trial: Any, folder: Path) -> FinishedTrial:
    """Return Optuna's record of a trial as a FinishedTrial."""
    state = {"COMPLETE": "complete", "PRUNED": "pruned"}.get(trial.state.name, "failed")
    value = trial.value if state == "complete" else min(trial.intermediate_values.values(), default=None)
    return FinishedTrial(trial.number, state, value, dict(trial.params), trial_folder(folder, trial.number))


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
