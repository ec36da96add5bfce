"""One table says what is measured, and trackers show it in groups."""

from __future__ import annotations

import math
import subprocess
import sys

from textmill.tracking.metric_table import METRICS, tag, tagged

PROMISED = """train_loss val_loss val_perplexity val_bits_per_byte learning_rate grad_norm tokens_per_second mfu step
epoch tokens elapsed_time peak_memory_gib best_val_loss"""


def test_every_promised_metric_is_in_the_table_and_explained() -> None:
    """Names are those of the documentation."""
    assert set(PROMISED.split()) <= METRICS.keys()
    for info in METRICS.values():
        assert info.label
        assert info.help
        assert info.group in ("train", "eval", "system")
    assert METRICS["val_loss"].unit == "nats/token"
    assert METRICS["val_loss"].better == "lower"


def test_tags_are_grouped() -> None:
    """The group stands before the slash, and no two metrics share a tag."""
    assert tag("train_loss") == "train/loss"
    assert tag("val_loss") == "eval/loss"
    assert tag("val_bits_per_byte") == "eval/bits_per_byte"
    assert tag("tokens_per_second") == "system/tokens_per_second"
    assert tag("val_brier") == "eval/brier"
    assert tag("my_metric") == "train/my_metric"
    assert tag("custom/metric1") == "custom/metric1"
    assert len({tag(name) for name in METRICS}) == len(METRICS)


def test_a_training_row_keeps_its_numbers_only() -> None:
    """Texts, missing values and NaN are not points of a curve; the step is the axis."""
    row = {"step": 3, "train_loss": 1.5, "mfu": None, "note": "x", "grad_norm": math.nan, "epoch": 1, "flag": True}
    assert tagged(row) == {"train/loss": 1.5, "train/epoch": 1.0}


def test_an_evaluation_row_reports_the_evaluation_only() -> None:
    """The training loss over another window would be a second value at the same step of the same curve."""
    row = {"step": 3, "train_loss": 1.5, "val_loss": 1.6, "val_perplexity": 5.0, "best_val_loss": 1.6, "mfu": 0.5}
    assert tagged(row) == {"eval/loss": 1.6, "eval/perplexity": 5.0, "eval/best_val_loss": 1.6}
    assert tagged({**row, "custom/mine": 2.0})["custom/mine"] == 2.0


def test_the_room_is_imported_without_torch_and_without_any_tracker() -> None:
    """A report or a refusal must not wait for them."""
    heavy = "('torch', 'tensorboard', 'wandb', 'mlflow', 'matplotlib')"
    program = f"import sys, textmill.tracking.tracker; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[]\n"
