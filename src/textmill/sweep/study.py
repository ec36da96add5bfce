"""What a sweep stores in its folder: Optuna's journal, and the sweep's definition."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textmill import files
from textmill.config import Config
from textmill.config.run_config import NOT_DUMPED
from textmill.errors import DataError, ResumeError
from textmill.files import read_object
from textmill.imports import optional
from textmill.runs.layout import is_run
from textmill.runs.recorded_files import has_own_hash
from textmill.sweep.journal import KEPT, CheckedJournal
from textmill.sweep.space import Dimension
from textmill.sweep.unrepeated import Unrepeated, combinations

if TYPE_CHECKING:
    import optuna

DEFINITION, JOURNAL = "sweep.json", "journal.log"

TOKENS_CHANGE = frozenset(
    {"tokenizer", "vocab_size", "special_tokens", "split_pattern", "normalize", "extend_vocab", "fim_rate"}
)
"""Settings that change what a token is: losses per token are then not comparable, bits per byte are."""

STARTUP_TRIALS = 5
"""Trials at the start that are drawn at random and never pruned, for the others to be compared with."""


def import_optuna() -> Any:
    """Return the module. Raises MissingExtraError where it is not installed."""
    optuna = optional("optuna", "sweep", "tune")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def objective_of(dimensions: Sequence[Dimension]) -> str:
    """Return the metric that trials are compared by: the validation loss, unless tokens differ between trials."""
    return metric_for({dimension.setting for dimension in dimensions})


def metric_for(settings: Collection[str]) -> str:
    """Return the metric by which runs that differ in these settings are compared, lower is better."""
    return "val_loss" if TOKENS_CHANGE.isdisjoint(settings) else "val_bits_per_byte"


def open_study(folder: Path, dimensions: Sequence[Dimension], seed: int) -> optuna.Study:
    """Return the study of the sweep in `folder`, new or as it was left.

    Trials are drawn by TPE, none twice where `dimensions` have an end of values; one whose evaluations are worse than
    the median of the others at the same step is pruned.
    Raises DataError for a journal that is damaged, or that lacks trials which have a run in `folder`.
    """
    optuna = import_optuna()
    path = folder / JOURNAL
    journal = CheckedJournal(path)
    try:
        storage = optuna.storages.JournalStorage(journal)
        study = optuna.create_study(storage=storage, study_name="sweep", direction="minimize", load_if_exists=True)
        recorded = len(study.get_trials(deepcopy=False))
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # of an earlier version, without hashes
        raise DataError(f"{path} is damaged ({type(error).__name__}: {error}): {KEPT}") from error
    for trial in sorted(folder.glob("trial-*")):
        number = trial.name.removeprefix("trial-")
        if number.isdecimal() and int(number) >= recorded and is_run(trial):
            raise DataError(f"{path} does not list the run in {trial}: it was cut, replaced or deleted; {KEPT}")
    # A sampler that began again with the same seed would draw the first trials once more.
    seed = (seed + len(study.trials)) % 2**32
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
    study.sampler = sampler if combinations(dimensions) is None else Unrepeated(sampler, dimensions, seed)
    study.pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=1)
    return study


def settle_definition(folder: Path, config: Config, search: Any) -> None:
    """Write the sweep's definition into `folder`: the configuration and what is searched, in JSON's types.

    Raises ResumeError if the folder contains another sweep, naming the difference, and DataError if its definition is
    damaged or gone.
    """
    values = {setting: value for setting, value in config.values().items() if setting not in NOT_DUMPED}
    wanted = {"search": search, "config": values}
    path = folder / DEFINITION
    there = read_object(path)
    if not there and not path.exists() and not (folder / JOURNAL).exists():
        files.write_json(path, files.with_own_hash(wanted))
        return
    if not there or has_own_hash(there) is False:
        state = "has changed since the sweep wrote it" if path.exists() else "is gone"
        raise DataError(f"{path} {state}: {KEPT}")
    differing = ["search"] if there.get("search") != wanted["search"] else []
    saved = there.get("config", {})
    differing += [setting for setting, value in values.items() if saved.get(setting) != value]
    if differing:
        raise ResumeError(
            f"{folder} contains another sweep: {', '.join(differing[:5])} differ; give this one another --output-dir"
        )
