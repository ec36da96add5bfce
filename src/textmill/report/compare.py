"""How runs differ: in their settings, and in their results."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from textmill.errors import DataError
from textmill.report.run_record import Record

WHERE = frozenset({"run_name", "log_dir", "cache_dir"})
"""Settings that say where something is written, not what is computed."""

RESULTS = ("state", "step", "best_val_loss", "best_step", "bits_per_byte", "tokens_per_second", "elapsed_time")


def differences(records: Sequence[Record]) -> dict[str, list[Any]]:
    """Return setting -> its value in each run, for the settings in which the runs differ; see `Record.shown_value`."""
    names = dict.fromkeys(setting for record in records for setting in record.values if setting not in WHERE)
    rows = {setting: [record.shown_value(setting) for record in records] for setting in names}
    return {setting: row for setting, row in rows.items() if any(value != row[0] for value in row[1:])}


def results(records: Sequence[Record]) -> dict[str, list[Any]]:
    """Return result -> its value in each run."""
    summaries = [record.summary() for record in records]
    return {name: [summary[name] for summary in summaries] for name in RESULTS}


def same_text(records: Sequence[Record]) -> bool:
    """Whether all runs read the same ids, so that their losses can be compared; unknown counts as the same."""
    prints = {record.environment.get("identity", {}).get("data") for record in records}
    return len(prints - {None}) <= 1


def on_one_text(
    records: Sequence[Record],
    text: str,
    *,
    cache_dir: Path | None = None,
    trust: bool = False,
    say: Callable[[str], None],
) -> list[float | None]:
    """Return the bits per byte of each run's model on all of `text`: comparable whatever the runs were trained on.

    None for a model that is damaged, or whose tokenizer cannot spell the text; `say` is told why. trust: import the
    code that a run names for its model.

    Raises:
        TextmillError: the text cannot be read, no model can be measured, or the text is ids and has no bytes.
    """
    from textmill.checkpoint.model_folder import builder_of, load_model
    from textmill.evaluation.evaluate_saved_model import evaluate_model

    measured: list[float | None] = []
    for number, record in enumerate(records, 1):
        try:
            builder = builder_of(record.folder)
            if builder is not None and not trust:
                raise DataError(f"{builder} builds its model, and is imported with --trust alone")
            model = record.folder if builder is None else load_model(record.folder, builder=builder)
            values = evaluate_model(model, text, cache_dir=cache_dir, max_unknown=1, say=say)
        except DataError as error:
            sentence = f"{record.folder} is not measured: {error}"
            if number == len(records) and not any(measured):
                raise DataError(sentence) from None
            say(sentence)
            measured.append(None)
            continue
        if "bits_per_byte" not in values:
            raise DataError(f"{text}: has no bytes to compare models by: give text, not ids")
        measured.append(values["bits_per_byte"])
    return measured
