"""Whatever the logs of a run contain, its numbers are listed and drawn: a log is never worth an error."""

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from textmill.report.compare import results
from textmill.report.html_page import render
from textmill.report.run_record import open_record
from textmill.tracking.training_curves import draw_training_curves

NUMBERS = st.one_of(
    *(st.integers(-5, 2000), st.floats(allow_nan=False, allow_infinity=False), st.none(), st.booleans()),
    *(st.sampled_from([1e308, -1e308, 10**400, 5e-324, -0.0]), st.text(max_size=3), st.just([]), st.just({"a": 1})),
)
NAMES = ["step", "epoch", "tokens", "train_loss", "val_loss", "val_perplexity", "val_bits_per_byte", "learning_rate"]
NAMES += ["tokens_per_second", "elapsed_time", "grad_norm", "val_accuracy", "custom/metric"]
ROWS = st.lists(st.dictionaries(st.sampled_from(NAMES), NUMBERS), max_size=5)


def run_with(folder: Path, evaluations: list[dict[str, Any]], reports: list[dict[str, Any]], damage: bytes) -> Path:
    """Return a run's folder with these logs, each followed by a damaged line and one more row."""
    (folder / "config.yaml").write_text("training: {seed: 1}\n")
    for name, rows in (("metrics.jsonl", evaluations), ("steps.jsonl", reports)):
        lines = [json.dumps(row).encode() for row in [*rows, {"step": 3, "train_loss": 2.0, "val_loss": 1.5}]]
        (folder / name).write_bytes(b"\n".join([*lines[:-1], damage.replace(b"\n", b" "), lines[-1], b""]))
    return folder


@settings(deadline=None)
@example([{"step": 1, "val_loss": -1e308}, {"step": 2, "val_loss": 1e308}], [], b"\xff{")
@example(
    [{"step": -3, "val_loss": 1.0}, {"step": 1e308, "val_loss": 1.0}], [{"step": {}, "train_loss": 10**400}], b"[]"
)
@given(evaluations=ROWS, reports=ROWS, damage=st.binary(max_size=20))
def test_any_log_is_listed_and_shown(
    evaluations: list[dict[str, Any]], reports: list[dict[str, Any]], damage: bytes
) -> None:
    """The row after the damage is found, whatever stands before it."""
    with tempfile.TemporaryDirectory() as folder:
        record = open_record(run_with(Path(folder), evaluations, reports, damage))
        assert record.evaluations[-1] == {"step": 3, "train_loss": 2.0, "val_loss": 1.5}
        assert render(record).startswith("<!doctype html>")
        assert results([record])["best_val_loss"][0] <= 1.5


@settings(deadline=None, max_examples=5)
@example([{"step": 1, "val_loss": -1e308}, {"step": 2, "val_loss": 1e308}], [], b"\xff{")
@given(evaluations=ROWS, reports=ROWS, damage=st.binary(max_size=20))
def test_any_log_is_drawn(evaluations: list[dict[str, Any]], reports: list[dict[str, Any]], damage: bytes) -> None:
    """The curves are a picture."""
    with tempfile.TemporaryDirectory() as folder:
        picture = draw_training_curves(run_with(Path(folder), evaluations, reports, damage))
        assert picture.read_bytes().startswith(b"\x89PNG")
