"""Run an ablation: every variant with every seed, each once and to its end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textmill import files
from textmill.config import Config, load_config
from textmill.config.consistency import validates
from textmill.console.screen import Screen
from textmill.data.sources.foreign_settings import refuse_foreign_settings
from textmill.errors import ConfigError, RunExistsError
from textmill.runs.layout import METRICS, is_run
from textmill.runs.read_run import read_measurements, read_status
from textmill.runs.run_lock import run_lock
from textmill.sweep.paired_differences import Summary, summarise
from textmill.sweep.run_sweep import with_text_kept
from textmill.sweep.study import DEFINITION, JOURNAL, metric_for, settle_definition
from textmill.sweep.variants import Variant
from textmill.training.assemble import assemble
from textmill.training.loop import run_loop
from textmill.training.result import result_of

Say = Callable[[str], None]
Row = Mapping[str, float | None]


@dataclass(frozen=True)
class Ablation:
    """The result: of each variant, by seed, its folder and the rows of its metrics.jsonl; the metric, lower is better.

    exit_code: other than 0 where a signal ended it. unfinished: how many runs are not finished.
    """

    folder: Path
    metric: str
    rows: Mapping[str, Mapping[int, Sequence[Row]]]
    unfinished: int
    exit_code: int

    def summaries(self) -> list[Summary]:
        """Return mean, deviation and difference of each variant; the value of a run is its best evaluation."""
        return summarise(
            {
                name: {seed: value for seed, rows in runs.items() if (value := best(rows, self.metric)) is not None}
                for name, runs in self.rows.items()
            }
        )


def best(rows: Sequence[Row], metric: str) -> float | None:
    """Return the lowest finite value of a metric, or None."""
    values = [value for row in rows if (value := row.get(metric)) is not None and math.isfinite(value)]
    return min(values, default=None)


def run_ablation(
    config: Config,
    variants: Sequence[Variant],
    folder: Path,
    *,
    seeds: int,
    max_seconds: float | None = None,
    say: Say = lambda sentence: None,
) -> Ablation:
    """Train `config` with the values of each variant and each of `seeds` seeds, that of `config` and those after it.

    Every run is a normal one, in folder/VARIANT-seed-N; one that is finished is not touched, one that was stopped goes
    on. All variants have the first seed before any has the second. After `max_seconds` no further run starts.

    Raises:
        ConfigError: there is no validation set, or the values of a variant do not fit: nothing is written then.
        ResumeError: `folder` contains another sweep. DataError: its definition is damaged.
        RunExistsError: it contains a run, or another process uses it.
    """
    refuse_foreign_settings(config)
    if not validates(config):
        raise ConfigError("variants are compared by validation losses: give val_data or a val_split above 0")
    if (is_run(folder) and not (folder / DEFINITION).exists()) or (folder / JOURNAL).exists():
        raise RunExistsError(f"{folder} contains a run or another sweep: give this one another --output-dir")
    for variant in variants:
        _refuse(config, variant)
    metric = metric_for({setting for variant in variants for setting in variant.values})
    deadline = math.inf if max_seconds is None else time.monotonic() + max_seconds
    first = config.training.seed
    planned = [(variant, seed) for seed in range(first, first + seeds) for variant in variants]
    with ExitStack() as stack:
        files.make_directory(folder)
        stack.enter_context(run_lock(folder, say=say))
        config = with_text_kept(config, say)
        settle_definition(folder, config, {variant.name: dict(variant.values) for variant in variants})
        code = 0
        for number, (variant, seed) in enumerate(planned, 1):
            if is_finished(run_folder(folder, variant, seed)):
                continue
            if time.monotonic() >= deadline:
                say("the time is up; the same command continues with the runs that are left")
                break
            if code := _run(config, variant, seed, folder, f"{number} of {len(planned)}", metric, say):
                say(f"{variant.name}, seed {seed}: interrupted; the same command continues with it")
                break
    return _result(folder, variants, planned, metric, code)


def _result(
    folder: Path, variants: Sequence[Variant], planned: Sequence[tuple[Variant, int]], metric: str, code: int
) -> Ablation:
    rows: dict[str, dict[int, Sequence[Row]]] = {variant.name: {} for variant in variants}
    unfinished = 0
    for variant, seed in planned:
        run = run_folder(folder, variant, seed)
        if is_finished(run):
            rows[variant.name][seed] = read_measurements(run / METRICS)
        else:
            unfinished += 1
    return Ablation(folder, metric, rows, unfinished, code)


def run_folder(folder: Path, variant: Variant, seed: int) -> Path:
    """Return the folder of one run."""
    return folder / f"{variant.slug}-seed-{seed}"


def is_finished(run: Path) -> bool:
    """Whether the run has come to its end."""
    return read_status(run).get("state") == "finished"


def _refuse(config: Config, variant: Variant) -> None:
    """Raise ConfigError, which names the variant, for values that contradict each other."""
    try:
        load_config(config, dict(variant.values))
    except ConfigError as error:
        raise ConfigError(f"{variant.name}: {error}") from error


def _run(config: Config, variant: Variant, seed: int, folder: Path, number: str, metric: str, say: Say) -> int:
    """Train one run, or go on with it; return the exit code that a signal gave it, else 0."""
    run, started = run_folder(folder, variant, seed), time.monotonic()
    values: dict[str, Any] = {**variant.values, "seed": seed, "output_dir": str(run)}
    settled = load_config(config, values, resume="auto" if is_run(run) else False)
    with assemble(settled, screen=Screen(quiet=True, title=f"{variant.name}, seed {seed}"), on_signal="return") as live:
        run_loop(live)
    if code := result_of(live).exit_code:
        return code
    value = best(read_measurements(run / METRICS), metric)
    told = "no finite value" if value is None else f"{value:.4f}"
    say(f"run {number:<8} {variant.name}, seed {seed}: {metric} {told} ({time.monotonic() - started:.0f} s)")
    return 0
