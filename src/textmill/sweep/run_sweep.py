"""Run a sweep: choose values, train, record the result, until there are enough trials."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textmill import files
from textmill.config import Config, load_config
from textmill.config.consistency import validates
from textmill.data.sources.foreign_settings import refuse_foreign_settings
from textmill.data.sources.one_time_texts import Keeper
from textmill.errors import CannotWriteError, ConfigError, RunExistsError, TextmillError
from textmill.runs.layout import is_run
from textmill.runs.run_lock import run_lock
from textmill.sweep.space import Dimension
from textmill.sweep.study import DEFINITION, import_optuna, objective_of, open_study, settle_definition
from textmill.sweep.trial import refuse_other_values, run_trial, trial_folder
from textmill.sweep.unrepeated import combinations, untried

if TYPE_CHECKING:
    import optuna

Say = Callable[[str], None]

FAILURES_ALLOWED = 5
"""Failed trials in a row after which the sweep is given up: the cause is then not the values."""

FINALISTS = 3
"""Best trials that are worth comparing with several seeds."""


@dataclass(frozen=True)
class Tried:
    """A finished trial. state: complete, pruned or failed. value: of the metric, lower is better."""

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
    """Run `config` `trials` times with values from `dimensions`; continue a sweep that is in `folder`.

    Every trial is a normal run in its own folder. Failed trials count; an interrupted one is finished first. After
    `max_seconds` no new trial starts.

    Raises:
        ConfigError: there is no validation set, or no trial could start.
        ResumeError: `folder` contains another sweep. DataError: the sweep in it is damaged.
        RunExistsError: it contains a run, or another process uses it.
        MissingExtraError: Optuna is not installed.
    """
    refuse_foreign_settings(config)
    import_optuna()
    if not validates(config):
        raise ConfigError("a sweep compares validation losses: give val_data or a val_split above 0")
    if is_run(folder) and not (folder / DEFINITION).exists():
        raise RunExistsError(f"{folder} contains a run: give the sweep another --output-dir")
    metric = objective_of(dimensions)
    with ExitStack() as stack:
        files.make_directory(folder)
        stack.enter_context(run_lock(folder, say=say))
        config = with_text_kept(config, say)
        settle_definition(folder, config, sorted(dimension.described() for dimension in dimensions))
        settings = {dimension.setting for dimension in dimensions}
        if "learning_rate" in settings and "optimizer" not in settings:
            optimizer = load_config(config, learning_rate=1.0).training.optimizer
            say(f"optimizer: {optimizer} in every trial, because the rates searched are its; --optimizer sets another")
        search = _Search(open_study(folder, dimensions, config.training.seed), config, dimensions, folder, metric, say)
        code = search.run(trials, max_seconds)
        return SweepResult(folder, metric, [tried(trial, folder) for trial in _over(search.study)], code)


def with_text_kept(config: Config, say: Say) -> Config:
    """Return `config` with the files of text that is given once, which every trial would otherwise ask for again."""
    config = config.copy()
    data = config.data
    keeper = Keeper(data.text_column, data.cache_dir, say, format=data.format, encoding=data.encoding)
    for name in ("data", "val_data"):
        if items := getattr(data, name):
            setattr(data, name, [str(item) for item in keeper.keep(items, name) or []])
    return config


def write_finalists(result: SweepResult) -> Path | None:
    """Write the values of the best trials that ran to their end as variants, to be compared with several seeds.

    Return the path of best.json, or None where fewer than two trials differ in values.
    """
    found: dict[str, dict[str, Any]] = {}
    for trial in result.ranked:
        if trial.state == "complete" and trial.values not in found.values() and len(found) < FINALISTS:
            found[f"trial {trial.number}"] = trial.values
    if len(found) < 2:
        return None
    target = result.folder / "best.json"
    files.write_json(target, found)
    return target


@dataclass(frozen=True)
class _Search:
    """A sweep in progress."""

    study: optuna.Study
    config: Config
    dimensions: Sequence[Dimension]
    folder: Path
    metric: str
    say: Say

    def run(self, trials: int, max_seconds: float | None) -> int:
        """Run trials until there are `trials` of them or the time is up; return the exit code of the sweep."""
        deadline = None if max_seconds is None else time.monotonic() + max_seconds
        failed = 0
        while (done := len(_over(self.study))) < trials:
            if deadline is not None and time.monotonic() >= deadline:
                self.say(f"the time is up after {done} of {trials} trials; the same command continues with them")
                return 0
            trial = _unfinished(self.study)
            if trial is None and untried(self.dimensions, [each.params for each in _over(self.study)]) == 0:
                every = combinations(self.dimensions)
                self.say(f"all {every} combinations of the values have been tried: there is no trial {done + 1}")
                return 0
            trial = trial or self.study.ask()
            values = {dimension.setting: dimension.suggest(trial) for dimension in self.dimensions}
            refuse_other_values(trial_folder(self.folder, trial.number), values)
            try:
                code = self._try(trial, values)
            except CannotWriteError:
                raise  # the values are not to blame for a full disk
            except TextmillError as error:
                self.study.tell(trial, state=import_optuna().trial.TrialState.FAIL)
                self.say(f"trial {trial.number:<4} failed      {_listed(values)}: {error}")
                failed += 1
                if failed >= FAILURES_ALLOWED:
                    raise
                continue
            if code:
                return code
            failed = 0
        return 0

    def _try(self, trial: optuna.Trial, values: dict[str, Any]) -> int:
        """Run a trial and report it; return an exit code other than 0 if a signal ended it."""
        started = time.monotonic()
        outcome = run_trial(self.config, values, trial_folder(self.folder, trial.number), trial, self.metric)
        if outcome.exit_code:
            self.say(f"trial {trial.number:<4} interrupted; the same command continues with it")
            return outcome.exit_code
        if outcome.value is None:
            raise ConfigError("the trial has no finite validation loss")
        pruned = import_optuna().trial.TrialState.PRUNED if outcome.pruned else None
        self.study.tell(trial, None if pruned else outcome.value, state=pruned)
        note = f", pruned at step {outcome.step}" if pruned else ""
        told = f"{self.metric} {outcome.value:.4f}  {_listed(values)}{note} ({time.monotonic() - started:.0f} s)"
        self.say(f"trial {trial.number:<4} {told}")
        return 0


def _unfinished(study: optuna.Study) -> optuna.Trial | None:
    """Return the trial that an earlier process did not finish, or None."""
    optuna = import_optuna()
    for unfinished in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        return optuna.trial.Trial(study, unfinished._trial_id)
    return None


def _over(study: optuna.Study) -> list[Any]:
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]


def tried(trial: Any, folder: Path) -> Tried:
    """Convert Optuna's record of a trial."""
    state = {"COMPLETE": "complete", "PRUNED": "pruned"}.get(trial.state.name, "failed")
    value = trial.value if state == "complete" else min(trial.intermediate_values.values(), default=None)
    return Tried(trial.number, state, value, dict(trial.params), trial_folder(folder, trial.number))


def _listed(values: dict[str, Any]) -> str:
    short = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in values.items()}
    return ", ".join(f"{name} {value}" for name, value in short.items())
