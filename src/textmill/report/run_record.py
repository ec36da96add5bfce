"""What the files of a run folder say about the run."""

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

from textmill.config.field_types import closest_beside
from textmill.console.number_format import as_text
from textmill.errors import MissingInputError
from textmill.files import is_locked, read_object, read_rows, read_text
from textmill.runs import layout
from textmill.runs.read_run import (
    changes_of_settings,
    read_environment,
    read_measurements,
    read_sections,
    read_status,
)
from textmill.runs.recorded_files import has_own_hash

Row = dict[str, Any]

ADVICE = "advice: "
"""Begins the lines of train.log that give advice."""


@dataclass(frozen=True)
class Record:
    """A run as read from its folder. What is missing or damaged there is empty here."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @cached_property
    def status(self) -> dict[str, Any]:
        return read_status(self.folder)

    @property
    def state(self) -> str:
        """Return running, finished, interrupted or failed; `killed` when its process is gone without a reason."""
        state = str(self.status.get("state", "unknown"))
        return "killed" if state == "running" and not is_locked(self.folder / layout.LOCK) else state

    @cached_property
    def environment(self) -> dict[str, Any]:
        return read_environment(self.folder)

    @property
    def recorded_files(self) -> dict[str, Any]:
        """Return the hashes of the run's files by name, as its last session recorded them; none if these changed."""
        return self.status.get("files", {}) if has_own_hash(read_object(self.folder / layout.STATUS)) else {}

    @cached_property
    def config(self) -> dict[str, dict[str, Any]]:
        return read_sections(self.folder)

    @property
    def values(self) -> dict[str, Any]:
        """Return setting -> value of all sections."""
        return {setting: value for section in self.config.values() for setting, value in section.items()}

    @cached_property
    def changes(self) -> dict[str, list[Row]]:
        """Return setting -> its changes, `was`, `is` and `after_step`, for settings that changed during the run."""
        found: dict[str, list[Row]] = {}
        for change in changes_of_settings(self.folder):
            found.setdefault(str(change["setting"]), []).append(change)
        return found

    def shown_value(self, setting: str) -> Any:
        """Return a setting's value, or `0.004, 0.001 after step 100` where it changed during the run."""
        changes = self.changes.get(setting)
        if not changes:
            return self.values.get(setting)
        later = [f"{as_text(change['is'])} after step {change['after_step']:,}" for change in changes]
        return ", ".join([as_text(changes[0]["was"]), *later])

    def origin(self, setting: str) -> str:
        """Return where a setting's value came from, as far as the run recorded it."""
        return str(self.environment.get("origins", {}).get(setting, "default"))

    @cached_property
    def evaluations(self) -> list[Row]:
        """Return the rows of metrics.jsonl."""
        return _measurements(self.folder / layout.METRICS)

    @cached_property
    def reports(self) -> list[Row]:
        """Return the rows of steps.jsonl."""
        return _measurements(self.folder / layout.STEPS)

    @cached_property
    def samples(self) -> list[Row]:
        """Return the rows of samples.jsonl."""
        with suppress(OSError):
            return list(read_rows(self.folder / layout.SAMPLES, on_damage=lambda problem: None))
        return []

    @property
    def last(self) -> Row:
        """Return the newest row of either log."""
        rows = [*self.evaluations[-1:], *self.reports[-1:]]
        return max(rows, key=lambda row: row.get("step", 0), default={})

    @property
    def best(self) -> Row:
        """Return the evaluation with the lowest validation loss, or an empty row."""
        measured = [row for row in self.evaluations if "val_loss" in row]
        return min(measured, key=lambda row: row["val_loss"], default={})

    @property
    def best_sample(self) -> Row:
        """Return the sample of the best evaluation, or the last one before it; an empty row without samples."""
        until = self.best.get("step", math.inf)
        earlier = [row for row in self.samples if isinstance(row.get("step"), int) and row["step"] <= until]
        return (earlier or self.samples[:1] or [{}])[-1]

    @property
    def speed(self) -> float | None:
        """Return the tokens per second of the run: the median of its reports, which no pause or slow start changes."""
        speeds = [row["tokens_per_second"] for row in self.reports or self.evaluations if "tokens_per_second" in row]
        return median(speeds) if speeds else None

    @cached_property
    def advice(self) -> list[str]:
        """Return the advice that the run gave, once each, from its train.log."""
        lines: list[str] = []
        with suppress(OSError):
            lines = read_text(self.folder / layout.TRAIN_LOG, "replace").splitlines()
        return list(dict.fromkeys(line.removeprefix(ADVICE) for line in lines if line.startswith(ADVICE)))

    def summary(self) -> Row:
        """Return the run in one row, for tables and programs."""
        return {
            "name": self.name,
            "folder": str(self.folder),
            "state": self.state,
            "step": max(self.last.get("step") or 0, self.status.get("step") or 0),
            "best_val_loss": self.best.get("val_loss"),
            "best_step": self.best.get("step"),
            "bits_per_byte": self.best.get("val_bits_per_byte"),
            "tokens": self.last.get("tokens"),
            "tokens_per_second": self.speed,
            "elapsed_time": self.last.get("elapsed_time"),
            "time": self.status.get("time"),
        }


def open_record(folder: str | Path) -> Record:
    """Return the record of the run in `folder`. Raises MissingInputError when there is none."""
    path = Path(folder)
    if not layout.is_run(path):
        hint = closest_beside(path) or ": give one that training wrote, such as runs/experiment_1"
        raise MissingInputError(f"{path} is not a run folder{hint}")
    return Record(path)


def find_records(folder: Path) -> list[Record]:
    """Return the runs in and up to two levels below `folder`, the newest last.

    Raises MissingInputError when the folder is not there.
    """
    if not folder.is_dir():
        raise MissingInputError(f"there is no folder {folder}: name one that contains runs")
    found = [Record(path) for path in _runs_below(folder, depth=2)]
    return sorted(found, key=lambda record: str(record.status.get("time", "")))


def _runs_below(folder: Path, depth: int) -> Iterator[Path]:
    if layout.is_clearly_run(folder):
        yield folder
        return
    for entry in sorted(folder.iterdir()) if depth else ():
        if entry.is_dir() and not entry.name.startswith("."):
            yield from _runs_below(entry, depth - 1)


def _measurements(path: Path) -> list[Row]:
    """Return the rows of a log of numbers, without values that are not finite."""
    with suppress(OSError):
        return [{key: value for key, value in row.items() if value is not None} for row in read_measurements(path)]
    return []
