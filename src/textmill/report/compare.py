"""How runs differ: in what they were made with, and in what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from textmill.report.run_record import Record

WHERE = frozenset({"run_name", "log_dir", "cache_dir"})
"""Settings that say where something is put, not what is computed."""

RESULTS = ("state", "step", "best_val_loss", "best_step", "bits_per_byte", "tokens_per_second", "elapsed_time")


def differences(records: Sequence[Record]) -> dict[str, list[Any]]:
    """Return setting -> its value in each run, for the settings in which the runs differ."""
    values = [record.values for record in records]
    leaves = dict.fromkeys(leaf for one in values for leaf in one if leaf not in WHERE)
    rows = {leaf: [one.get(leaf) for one in values] for leaf in leaves}
    return {leaf: row for leaf, row in rows.items() if any(value != row[0] for value in row[1:])}


def results(records: Sequence[Record]) -> dict[str, list[Any]]:
    """Return result -> its value in each run."""
    summaries = [record.summary() for record in records]
    return {name: [summary[name] for summary in summaries] for name in RESULTS}


def same_text(records: Sequence[Record]) -> bool:
    """Whether all runs saw the same ids, so that their losses may be compared; unknown counts as the same."""
    prints = {str(record.environment.get("identity", {}).get("data")) for record in records}
    return len(prints - {None}) <= 1
