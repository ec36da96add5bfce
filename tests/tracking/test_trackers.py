"""Each tracker holds what was reported; none of them ever stops a run."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from support.wandb_file import recorded_values
from textmill.errors import ConfigError, MissingExtraError
from textmill.tracking.mlflow import MLflow
from textmill.tracking.tensorboard import TensorBoard
from textmill.tracking.tracker import Trackers, build_trackers
from textmill.tracking.wandb import WandB

CONFIG = {"model": {"d_model": 8, "norm": None}, "training": {"learning_rate": 3e-4}}


def info(step: int = 0) -> dict[str, Any]:
    return {"name": "test-run", "config": CONFIG, "step": step}


def row(step: int, loss: float) -> dict[str, Any]:
    return {"step": step, "train_loss": loss, "learning_rate": 3e-4, "tokens_per_second": 100.0, "mfu": None}


class Recorder:
    """A tracker that remembers its calls, and fails in one of them."""

    def __init__(self, fails_in: str = "") -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.fails_in = fails_in

    def _call(self, *call: Any) -> None:
        if call[0] == self.fails_in:
            raise RuntimeError("server gone\nsecond line")
        self.calls.append(call)

    def start(self, run_info: Mapping[str, Any]) -> None:
        self._call("start", run_info["name"])

    def log(self, row: Mapping[str, Any], step: int) -> None:
        self._call("log", row["train_loss"], step)

    def text(self, name: str, text: str, step: int) -> None:
        self._call("text", name, text, step)

    def finish(self, status: str) -> None:
        self._call("finish", status)


ALL_CALLS = [
    ("start", "test-run"),
    ("log", 2.0, 1),
    ("log", 1.0, 2),
    ("text", "sample", "x", 2),
    ("finish", "done"),
]


def report(trackers: Trackers) -> None:
    trackers.start(info())
    trackers.log(row(1, 2.0), 1)
    trackers.log(row(2, 1.0), 2)
    trackers.text("sample", "x", 2)
    trackers.finish("done")
    trackers.finish("failed")


def test_everything_reaches_every_tracker_once() -> None:
    """In order, and the end only once."""
    first, second = Recorder(), Recorder()
    report(Trackers([first, second], say=lambda sentence: None))
    assert first.calls == second.calls == ALL_CALLS


@pytest.mark.parametrize("place", ["start", "log", "text", "finish"])
def test_a_tracker_that_fails_is_said_once_and_the_others_go_on(place: str) -> None:
    """The run never notices; the person does."""
    said: list[str] = []
    broken, sound = Recorder(fails_in=place), Recorder()
    report(Trackers([broken, sound], say=said.append))
    assert said == ["Recorder failed and gets no more reports from this run: server gone"]
    assert sound.calls == ALL_CALLS
    assert broken.calls == ALL_CALLS[: [call[0] for call in ALL_CALLS].index(place)]


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_missing_library_is_one_line_that_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """When the tracker is built, and again if it is opened all the same: nothing was trained or written yet."""
    for module in ("tensorboard", "torch.utils.tensorboard", "wandb", "mlflow", "mlflow.entities"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'textmill\[track\]'") as caught:
        build_trackers([name], tmp_path, say=lambda sentence: None)
    assert caught.value.exit_code == 2
    trackers = {
        "tensorboard": TensorBoard(tmp_path),
        "wandb": WandB(tmp_path, "project", print),
        "mlflow": MLflow(tmp_path, "project", print, store=tmp_path),
    }
    with pytest.raises(MissingExtraError, match=r"pip install 'textmill\[track\]'"):
        trackers[name].start(info())
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_tracker_is_refused(tmp_path: Path) -> None:
    """The message names the choices."""
    with pytest.raises(ConfigError, match="unknown tracker 'neptune'; choose among tensorboard, wandb, mlflow"):
        build_trackers(["neptune"], tmp_path, say=lambda sentence: None)
    assert build_trackers([], tmp_path, say=lambda sentence: None).trackers == []


def run_in_two_sessions(tmp_path: Path, name: str) -> list[str]:
    """Report steps 1 to 4, then go on from step 2 as after a crash: 3 and 4 again, and 5."""
    said: list[str] = []
    first = build_trackers([name], tmp_path, project="proj", say=said.append)
    first.start(info())
    for step in (1, 2, 3, 4):
        first.log(row(step, 1 / step), step)
    first.log({"step": 4, "val_loss": 0.75, "train_loss": 9.0}, 4)
    first.text("sample", "To be, or <not> `to` ```be```", 4)
    first.finish("interrupted")
    second = build_trackers([name], tmp_path, project="proj", say=said.append)
    second.start(info(step=2))
    for step in (3, 4, 5):
        second.log(row(step, 1 / step), step)
        if step == 4:
            second.log({"step": 4, "val_loss": 0.75, "train_loss": 9.0}, 4)
            second.text("sample", "To be, or <not> `to` ```be```", 4)
    second.finish("finished")
    return said


def test_a_run_that_goes_back_is_shown_as_it_went_on(tmp_path: Path) -> None:
    """TensorBoard's reader sees of the undone steps what was reported the second time; other trackers are told."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trackers, recorder = build_trackers(["tensorboard"], tmp_path, say=lambda sentence: None), Recorder()
    trackers.trackers.append(recorder)
    trackers.start(info())
    for step in (1, 2, 3, 4):
        trackers.log(row(step, 1 / step), step)
    trackers.start_again(info(step=2))
    for step in (3, 4):
        trackers.log(row(step, 10.0), step)
    trackers.finish("finished")
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [event.value for event in events.Scalars("train/loss")] == [1.0, 0.5, 10.0, 10.0]
    assert recorder.calls[5:7] == [("finish", "interrupted"), ("start", "test-run")]


def test_tensorboard_shows_each_step_once_after_a_resume(tmp_path: Path) -> None:
    """Read back with TensorBoard's own reader: what was reported after the checkpoint is purged."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert run_in_two_sessions(tmp_path, "tensorboard") == []
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    losses = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert losses == [(step, pytest.approx(1 / step)) for step in (1, 2, 3, 4, 5)]
    assert [(event.step, event.value) for event in events.Scalars("eval/loss")] == [(4, 0.75)]
    assert set(events.Tags()["scalars"]) == {
        "train/loss",
        "train/learning_rate",
        "system/tokens_per_second",
        "eval/loss",
    }
    # TensorBoard purges numbers only: the text was reported twice, at one step and with one content.
    texts = {(event.step, event.tensor_proto.string_val[0]) for event in events.Tensors("sample/text_summary")}
    assert texts == {(4, b"````\nTo be, or <not> `to` ```be```\n````")}
    (config,) = events.Tensors("config/text_summary")
    assert b'"d_model": 8' in config.tensor_proto.string_val[0]


@pytest.mark.slow
def test_mlflow_compares_the_runs_of_a_store(tmp_path: Path) -> None:
    """Two runs with log folders of their own are in one experiment of one database."""
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient  # pyright: ignore[reportMissingImports]

    for name in ("one", "two"):
        report(build_trackers(["mlflow"], tmp_path / name / "logs", store=tmp_path, say=print))
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("textmill").experiment_id])
    ids = {(tmp_path / name / "logs" / "mlflow_run_id").read_text().strip() for name in ("one", "two")}
    assert {run.info.run_id for run in found} == ids and len(ids) == 2


@pytest.mark.slow
def test_mlflow_keeps_one_run_across_a_resume(tmp_path: Path) -> None:
    """Read back with MLflow's own client: parameters, curves, text and the final status."""
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient  # pyright: ignore[reportMissingImports]

    (said, _) = run_in_two_sessions(tmp_path, "mlflow")
    assert said == f"MLflow shows the run with: mlflow ui --backend-store-uri sqlite:///{tmp_path}/mlflow.db"
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("proj")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "test-run"
    assert run.info.status == "FINISHED"
    assert run.data.params == {"model.d_model": "8", "model.norm": "None", "training.learning_rate": "0.0003"}
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert sorted({(point.step, point.value) for point in history}) == [(step, 1 / step) for step in (1, 2, 3, 4, 5)]
    (text,) = (tmp_path / "mlflow_artifacts").rglob("step-0000004.txt")
    assert text.read_text() == "To be, or <not> `to` ```be```"


@pytest.mark.slow
def test_wandb_records_offline_with_one_id_across_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is logged in: the run is recorded locally all the same, and the way to send it is said."""
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    said = run_in_two_sessions(tmp_path, "wandb")
    wandb.teardown()  # as a process's end does: until then W&B may still be writing
    run_id = (tmp_path / "wandb_run_id").read_text().strip()
    recorded = [path for path in (tmp_path / "wandb").iterdir() if path.name.startswith("offline-run-")]
    assert [recorded_values(folder / f"run-{run_id}.wandb", "train/loss") for folder in sorted(recorded)] == [
        {1: 1.0, 2: 0.5, 3: 1 / 3, 4: 0.25},
        {3: 1 / 3, 4: 0.25, 5: 0.2},
    ]
    ways = [f"Weights & Biases records offline; send it with: wandb sync {folder}" for folder in sorted(recorded)]
    assert said == ways


@pytest.mark.slow
def test_an_unreachable_wandb_records_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody is logged in and the server does not answer: said, and recorded under the same id all the same."""
    wandb = pytest.importorskip("wandb")
    wandb.teardown()  # it remembers the environment of its first run
    for name, value in {"API_KEY": "0" * 40, "BASE_URL": "http://127.0.0.1:9", "INIT_TIMEOUT": "4"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    said: list[str] = []
    trackers = build_trackers(["wandb"], tmp_path, say=said.append)
    trackers.start(info())
    trackers.log(row(1, 2.5), 1)
    trackers.finish("finished")
    assert "cannot be used online" in said[0] and "records offline" in said[1] and len(said) == 2
    (recorded,) = (tmp_path / "wandb").glob("offline-run-*")
    run_id = (tmp_path / "wandb_run_id").read_text().strip()
    assert recorded_values(recorded / f"run-{run_id}.wandb", "train/loss") == {1: 2.5}


@pytest.mark.slow
def test_an_unreachable_mlflow_is_left_out_within_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server does not answer: said once, and what MLflow's environment was it is again."""
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    before = dict(os.environ)
    said: list[str] = []
    trackers = build_trackers(["mlflow"], tmp_path, say=said.append)
    trackers.start(info())
    assert trackers.trackers == []
    assert said[0].startswith(
        "MLflow failed and gets no more reports from this run: API request to http://127.0.0.1:9/"
    )
    assert dict(os.environ) == before
