"""How runs differ: in their settings, and in their results."""

from collections.abc import Callable, Sequence
from typing import Any

from textmill.errors import DataError
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
    prints = {record.environment.get("identity", {}).get("data") for record in records}
    return len(prints - {None}) <= 1


def on_one_text(records: Sequence[Record], text: str, *, say: Callable[[str], None]) -> list[float]:
    """Return the bits per byte of each run's model on all of `text`: comparable whatever the runs were trained on.

    Raises:
        TextmillError: the text or a model cannot be read, or the text is ids and has no bytes.
    """
    from textmill.evaluation.evaluate_saved_model import evaluate_model

    measured = [evaluate_model(record.folder, text, say=say) for record in records]
    if any("bits_per_byte" not in values for values in measured):
        raise DataError(f"{text}: has no bytes to compare models by: give text, not ids")
    return [values["bits_per_byte"] for values in measured]
