"""Report to MLflow: a local database, or the server named in MLflow's own settings."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from textmill.files import make_directory, read_text, write_text
from textmill.imports import optional
from textmill.tracking.metric_table import tagged

_STATUS = {"finished": "FINISHED", "interrupted": "KILLED"}
_BATCH = 100  # parameters per call
_LONGEST = 6000  # characters per parameter


class MLflow:
    """One MLflow run, kept across resumes: its id is in `log_dir/mlflow_run_id`.

    Without MLFLOW_TRACKING_URI the runs are in the SQLite file `store/mlflow.db` and texts below
    `store/mlflow_artifacts`: runs that share a store are compared. MLflow keeps what it was once told: rows between the
    checkpoint and the interruption are reported twice, at the same steps.
    """

    def __init__(self, log_dir: Path, experiment: str, say: Callable[[str], None], *, store: Path) -> None:
        self.log_dir = log_dir
        self.store = store.resolve()
        self.experiment = experiment
        self.say = say
        self._client: Any = None
        self._run_id = ""

    def start(self, run_info: Mapping[str, Any]) -> None:
        """Open the run; its parameters are the configuration. Raises MissingExtraError without the mlflow package."""
        mlflow = optional("mlflow", "reporting to MLflow", "track")
        make_directory(self.log_dir)
        make_directory(self.store)
        local = f"sqlite:///{self.store / 'mlflow.db'}"
        uri = mlflow.environment_variables.MLFLOW_TRACKING_URI.get() or local
        self._client = mlflow.tracking.MlflowClient(tracking_uri=uri)
        with _impatient():
            experiment = self._experiment_id(uri == local)
        path = self.log_dir / "mlflow_run_id"
        if run_info["step"] and path.is_file():
            self._run_id = read_text(path).strip()
            self._client.update_run(self._run_id, status="RUNNING")
        else:
            self._run_id = self._client.create_run(experiment, run_name=run_info["name"]).info.run_id
            write_text(path, self._run_id + "\n")
            parameters = [mlflow.entities.Param(key, value[:_LONGEST]) for key, value in _flat(run_info["config"])]
            for start in range(0, len(parameters), _BATCH):
                self._client.log_batch(self._run_id, params=parameters[start : start + _BATCH])
        if uri == local:
            self.say(f"MLflow shows the run with: mlflow ui --backend-store-uri {uri}")

    def log(self, row: Mapping[str, Any], step: int) -> None:
        """Add each number of the row to its curve."""
        metric = optional("mlflow.entities", "reporting to MLflow", "track").Metric
        now = int(time.time() * 1000)
        self._client.log_batch(self._run_id, [metric(name, value, now, step) for name, value in tagged(row).items()])

    def text(self, name: str, text: str, step: int) -> None:
        """Store the text as an artifact of the run, one file per step."""
        self._client.log_text(self._run_id, text, f"{name}/step-{step:07d}.txt")

    def finish(self, status: str) -> None:
        """Mark the run as ended."""
        self._client.set_terminated(self._run_id, _STATUS.get(status, "FAILED"))

    def _experiment_id(self, local: bool) -> str:
        found = self._client.get_experiment_by_name(self.experiment)
        if found is not None:
            return found.experiment_id
        artifacts = (self.store / "mlflow_artifacts").as_uri() if local else None
        return self._client.create_experiment(self.experiment, artifact_location=artifacts)


@contextmanager
def _impatient() -> Iterator[None]:
    """Inside, give up on an unreachable server within seconds instead of minutes; MLflow's own setting wins."""
    name = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
    if name in os.environ:
        yield
        return
    os.environ[name] = "2"
    try:
        yield
    finally:
        del os.environ[name]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield nested values under dotted names."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)
