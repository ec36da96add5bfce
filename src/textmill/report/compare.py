"""How runs differ: in their settings, and in their results."""

from collections.abc import Sequence
from typing import Any

from textmill.report.run_record import Record

WHERE = frozenset({"run_name", "log_dir", "cache_dir"})
"""Settings that say where something is written, not what is computed."""

RESULTS = ("state", "step", "best_val_loss", "best_step", "bits_per_byte", "tokens_per_second", "elapsed_time")


def differences(records: Sequence[Record]) -> dict[str, list[Any]]:
    """Return setting -> its value in each run, for the settings in which the runs differ."""
    values = [record.values for record in records]
    names = dict.fromkeys(setting for one in values for setting in one if setting not in WHERE)
    rows = {setting: [one.get(setting) for one in values] for setting in names}
    return {setting: row for setting, row in rows.items() if any(value != row[0] for value in row[1:])}


def results(records: Sequence[Record]) -> dict[str, list[Any]]:
    """Return result -> its value in each run."""
    summaries = [record.summary() for record in records]
    return {name: [summary[name] for summary in summaries] for name in RESULTS}


def same_text(records: Sequence[Record]) -> bool:
    """Whether all runs read the same ids, so that their losses can be compared; unknown counts as the same."""
    prints = {str(record.environment.get("identity", {}).get("data")) for record in records}
    return len(prints - {None}) <= 1
