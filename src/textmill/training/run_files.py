"""The files that describe a run: config.yaml, environment.json and status.json."""

import json
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import torch
import yaml

from textmill import files
from textmill.config import Config
from textmill.console.command_line import quoted
from textmill.data.store.corpus import Corpus
from textmill.runs import layout
from textmill.runs.read_run import changes_of_settings, read_environment, read_status
from textmill.runs.recorded_files import record_files, with_hash
from textmill.training.run import Run
from textmill.training.user_code import describe_user_code
from textmill.version import VERSION


def write_config(folder: Path, config: Config, own_model: str | None) -> None:
    """Write the resolved configuration to config.yaml, which is itself a valid `--config`.

    A vocabulary size stays as it was asked for, so that the same is asked of other text; the file says what it became.

    own_model: the class of a model that was given from Python, which this file does not describe.
    """
    values = config.dump(as_asked=True)
    header = "# The resolved configuration of this run; `textmill train --config` with this file repeats it.\n"
    if own_model is not None:
        header += f"# The model was given from Python: {own_model}. The section `model` does not describe it.\n"
    asked, found = values["model"]["vocab_size"], config.model.vocab_size
    if asked != found:
        header += (
            f"# vocab_size {asked or 'null'} is what was asked of the text; the tokenizer and the model have {found}.\n"
        )
        header += "# The trained model, with its shape: textmill.checkpoint.model_folder.load_model(RUN).model\n"
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    files.write_text(folder / layout.CONFIG, with_hash(header, text))


def write_status(folder: Path, state: str, *, exit_code: int | None, reason: str, resumable: bool, step: int) -> None:
    """Write status.json: `running`, `finished`, `interrupted` or `failed`; why, and the hashes of the run's files."""
    _write_status(
        folder,
        {
            "state": state,
            "exit_code": exit_code,
            "reason": reason,
            "resumable": resumable,
            "step": step,
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "files": files.retry_stale(lambda: record_files(folder, with_logs=state != "running")),
        },
    )


def forget_hashes(folder: Path) -> None:
    """Take the hashes out of the status of a run that goes on: its files are about to change."""
    if status := read_status(folder):
        _write_status(folder, {key: value for key, value in status.items() if key not in ("files", "sha256")})


def _write_status(folder: Path, status: dict[str, Any]) -> None:
    files.write_json(folder / layout.STATUS, files.with_own_hash(status))


def write_environment(
    run: Run, corpus: Corpus, kernels: dict[str, Any], changes: Mapping[str, tuple[Any, Any]]
) -> None:
    """Write environment.json: machine, versions, data and command, and which settings changed after which step.

    changes: setting -> (value so far, value from here on), in addition to those of earlier sessions.
    """
    device = run.world.device
    described = {
        "textmill": VERSION,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "precision": run.engine.precision.name,
        "processes": run.world.size,
        "kernels": kernels,
        "identity": run.saving.identity,
        "origins": _origins(run),
        "changes": _changes(run, changes),
        "store": str(corpus.folder),
        "ends_documents": corpus.train.eos_id is not None,
        "vocab_size": run.config.model.vocab_size,
        "command": quoted(*sys.argv),
        **describe_user_code(),
    }
    files.write_json(run.folder / layout.ENVIRONMENT, described)


def _changes(run: Run, new: Mapping[str, tuple[Any, Any]]) -> list[dict[str, Any]]:
    """Return all changes of settings since step 0; those after the step that it continues at were undone."""
    step = run.progress.step
    earlier = [change for change in changes_of_settings(run.folder) if change["after_step"] < step]
    now = [{"setting": name, "was": was, "is": value, "after_step": step} for name, (was, value) in new.items()]
    return earlier + json.loads(json.dumps(now, default=str))


def _origins(run: Run) -> dict[str, str]:
    """Return where each value came from that is not a default; a value that a resumed run read from its own
    config.yaml keeps its earlier origin.
    """
    before = read_environment(run.folder).get("origins", {})
    own = str(run.folder / layout.CONFIG)
    origins = {name: origin for name, origin in run.config.origins.items() if origin != "default"}
    return {name: before.get(name, "default") if origin == own else origin for name, origin in origins.items()}
