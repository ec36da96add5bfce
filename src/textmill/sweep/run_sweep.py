"""The sweep: ask for values, train, tell how it went, until enough was tried."""

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
"""Trials in a row that may fail before the sweep is given up: then it is not the values that are wrong."""


@dataclass(frozen=True)
class Tried:
    """One trial that is over. state: complete, pruned or failed. value: of the metric, lower is better."""

    number: int
    state: str
    value: float | None
    values: dict[str, Any]
    folder: Path


@dataclass(frozen=True)
class SweepResult:
    """What a sweep found: its trials in the order in which they were begun, and the metric they were compared by."""

    folder: Path
    metric: str
    trials: list[Tried]
    exit_code: int = 0

    @property
    def ranked(self) -> list[Tried]:
        """Return the trials with a value, the best first; complete ones before pruned ones of the same value."""
        measured = [trial for trial in self.trials if trial.value is not None]
        return sorted(measured, key=lambda trial: (trial.value, trial.state != "complete"))

    @property
    def best(self) -> Tried | None:
        """Return the best trial that ran to its end, or None."""
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
    """Return what `trials` runs of `config` with values from `dimensions` gave; a sweep in `folder` goes on.

    Every trial is a normal run in a folder of its own. Trials that failed count; one that was interrupted is ended
    first. After `max_seconds` no further trial begins.

    Raises:
        ConfigError: there is no validation set to compare trials by, or what every trial would refuse.
        ResumeError: `folder` holds another sweep. RunExistsError: it holds a run, or another process uses it.
        MissingExtraError: Optuna is not installed.
    """
    import_optuna()
    if not validates(config):
        raise ConfigError("a sweep compares validation losses: give val_data or a val_split above 0")
    if is_run(folder) and not (folder / DEFINITION).exists():
        raise RunExistsError(f"{folder} holds a run: give the sweep an --output-dir of its own")
    metric = objective_of(dimensions)
    with ExitStack() as stack:
        files.make_directory(folder)
        stack.enter_context(RunLock(folder, say=say))
        settle_definition(folder, config, dimensions)
        study = open_study(folder, config.training.seed)
        code = _search(_Search(study, config, dimensions, folder, metric, say), trials, max_seconds)
        return SweepResult(folder, metric, [tried(trial, folder) for trial in _over(study)], code)


@dataclass(frozen=True)
class _Search:
    """What all trials of a sweep share."""

    study: optuna.Study
    config: Config
    dimensions: Sequence[Dimension]
    folder: Path
    metric: str
    say: Say


def _search(search: _Search, trials: int, max_seconds: float | None) -> int:
    """Run trials until there are `trials` of them or the time is up; return the exit code of the sweep."""
    deadline = None if max_seconds is None else time.monotonic() + max_seconds
    failed = 0
    while (done := len(_over(search.study))) < trials:
        if deadline is not None and time.monotonic() >= deadline:
            search.say(f"the time is up after {done} of {trials} trials; the same command goes on with them")
            return 0
        trial = _next(search.study)
        values = {dimension.leaf: dimension.suggest(trial) for dimension in search.dimensions}
        error, code = _try(search, trial, values)
        if code:
            return code
        failed = 0 if error is None else failed + 1
        if error is not None and failed >= FAILURES_ALLOWED:
            raise error
    return 0


def _next(study: optuna.Study) -> optuna.Trial:
    """Return the trial that an earlier process left unfinished, or a new one."""
    optuna = import_optuna()
    for unfinished in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        return optuna.trial.Trial(study, unfinished._trial_id)
    return study.ask()


def _try(search: _Search, trial: optuna.Trial, values: dict[str, Any]) -> tuple[TextmillError | None, int]:
    """Run a trial and say how it went; return its error, and an exit code other than 0 when a signal ended it."""
    optuna = import_optuna()
    states = optuna.trial.TrialState
    told = ", ".join(f"{leaf} {_short(value)}" for leaf, value in values.items())
    started = time.monotonic()
    try:
        outcome = run_trial(search.config, values, trial_folder(search.folder, trial.number), trial, search.metric)
    except CannotWriteError:
        raise  # no values are to blame for a full disk
    except TextmillError as error:
        search.study.tell(trial, state=states.FAIL)
        search.say(f"trial {trial.number:<4} failed      {told}: {error}")
        return error, 0
    if outcome.exit_code:
        search.say(f"trial {trial.number:<4} interrupted; the same command goes on with it")
        return None, outcome.exit_code
    if outcome.value is None:
        search.study.tell(trial, state=states.FAIL)
        search.say(f"trial {trial.number:<4} failed      {told}: it has no finite validation loss")
        return ConfigError("no trial has a finite validation loss"), 0
    search.study.tell(trial, None if outcome.pruned else outcome.value, state=states.PRUNED if outcome.pruned else None)
    note = f", pruned at step {outcome.step}" if outcome.pruned else ""
    seconds = time.monotonic() - started
    search.say(f"trial {trial.number:<4} {search.metric} {outcome.value:.4f}  {told}{note} ({seconds:.0f} s)")
    return None, 0


def _over(study: optuna.Study) -> list[Any]:
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]


def tried(trial: Any, folder: Path) -> Tried:
    """Return Optuna's record of a trial as ours."""
    state = {"COMPLETE": "complete", "PRUNED": "pruned"}.get(trial.state.name, "failed")
    value = trial.value if state == "complete" else min(trial.intermediate_values.values(), default=None)
    return Tried(trial.number, state, value, dict(trial.params), trial_folder(folder, trial.number))


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
