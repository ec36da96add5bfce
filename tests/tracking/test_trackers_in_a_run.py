"""Trackers in a whole run: all of them at once, and one that breaks in the middle."""

from __future__ import annotations

import json
import sysconfig
from pathlib import Path
from typing import Any

import pytest

import textmill as tm
from support.wandb_file import recorded_values
from textmill.tracking import tracker as build
from textmill.tracking.tensorboard import TensorBoard


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    """A small run of 30 steps that reports every step and evaluates every tenth."""
    text = tmp_path / "book.txt"
    text.write_text((Path(sysconfig.get_paths()["stdlib"]) / "bisect.py").read_text())
    shape = {"d_model": 16, "num_layers": 1, "num_heads": 2, "max_seq_len": 32, "batch_size": 4, "tokenizer": "byte"}
    length = {"max_steps": 30, "logging_steps": 1, "eval_steps": 10, "sample_steps": 15, "sample_tokens": 4}
    place = {"output_dir": str(tmp_path / "run"), "cache_dir": str(tmp_path / "cache"), "device": "cpu"}
    return {"data_path": str(text), **shape, **length, **place}


def logged(run: Path, file: str, name: str) -> dict[int, float]:
    return {row["step"]: row[name] for row in map(json.loads, (run / file).read_text().splitlines())}


@pytest.mark.slow
def test_three_trackers_hold_what_the_logs_hold(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read back with each one's own reader: every step's loss, and every evaluation's, W&B being offline."""
    for library in ("tensorboard", "wandb", "mlflow"):
        pytest.importorskip(library)
    from mlflow.tracking import MlflowClient  # pyright: ignore[reportMissingImports]
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("WANDB_MODE", "offline")
    tm.train(**settings, report_to=["tensorboard", "wandb", "mlflow"])
    run = tmp_path / "run"
    events = EventAccumulator(str(run / "logs"))
    events.Reload()
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    (entry,) = client.search_runs([client.get_experiment_by_name("textmill").experiment_id])
    (recorded,) = (run / "logs" / "wandb").glob("offline-run-*/run-*.wandb")
    for tag, file, name in (("train/loss", "steps.jsonl", "train_loss"), ("eval/loss", "metrics.jsonl", "val_loss")):
        expected = logged(run, file, name)
        assert len(expected) == (30 if file == "steps.jsonl" else 3)
        assert {event.step: event.value for event in events.Scalars(tag)} == pytest.approx(expected, rel=1e-6)
        history = client.get_metric_history(entry.info.run_id, tag)
        assert {point.step: point.value for point in history} == pytest.approx(expected, rel=1e-6), tag
        assert recorded_values(recorded, tag) == pytest.approx(expected, rel=1e-6)
    assert entry.info.status == "FINISHED"
    assert not list(run.rglob("*.pkl"))


def test_a_tracker_that_breaks_in_the_middle_does_not_stop_the_run(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the fifth report: said once in the run's log, and the run goes to its end."""

    class Broken(TensorBoard):
        def start(self, run_info: object) -> None: ...

        def log(self, row: object, step: int) -> None:
            if step == 5:
                raise ConnectionResetError("gone")

    monkeypatch.setattr(build, "TensorBoard", Broken)
    (tmp_path / "packages/tensorboard").mkdir(parents=True)  # so that it counts as installed
    monkeypatch.syspath_prepend(tmp_path / "packages")
    result = tm.train(**settings, report_to=["tensorboard"])
    assert (result.total_steps, result.exit_code) == (30, 0)
    log = (tmp_path / "run" / "train.log").read_text()
    assert log.count("Broken failed and gets no more reports from this run: gone") == 1
