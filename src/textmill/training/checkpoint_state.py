"""What a checkpoint holds of a run, and how a run takes it back."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from textmill.checkpoint.model_folder import STEM, describe_model, load_weights, stored_weights
from textmill.checkpoint.optimizer_state import flatten_optimizer, restore_optimizer
from textmill.checkpoint.sharded import load_sharded
from textmill.checkpoint.tensors import local_shard, refuse_non_finite
from textmill.errors import DataError, ResumeError
from textmill.files import in_good_shape, parse_json
from textmill.training.progress import Progress
from textmill.training.write_checkpoint import new_checkpoint

if TYPE_CHECKING:
    from textmill.training.run import Run

FORMAT = 1
"""Version of state.json; raised when an older textmill could not read a newer one."""

_KINDS = {
    "progress": dict,
    "epoch": (int, float),
    "engine": dict,
    "log_offsets": dict,
    "identity": dict,
    "optimizer_groups": list,
}
"""What state.json holds besides its format."""


def save_checkpoint(run: Run, progress: Progress, offsets: dict[str, int]) -> Path:
    """A durable checkpoint of `progress` and the weights as they are exists; return its folder. All processes call it.

    offsets: sizes of the log files that belong to this state. Raises NonFiniteError for weights that are not finite,
    CannotWriteError when it cannot be written.
    """
    state: dict[str, Any] = {
        "format": FORMAT,
        "progress": progress.state(run.world),
        "epoch": run.current_step().epoch,
        "engine": run.engine.state(),
        "log_offsets": offsets,
        "identity": run.identity,
        "grad_norm": _plain(float(run.final_norm)),
    }
    model, optimizer = run.engine.snapshot()
    weights = stored_weights(model)
    moments, state["optimizer_groups"] = flatten_optimizer(optimizer, model)
    with run.world.together():
        refuse_non_finite({name: local_shard(tensor) for name, tensor in weights.items()})
    expected = sum(tensor.nbytes for tensor in (*weights.values(), *moments.values()))
    with new_checkpoint(run, progress, expected_bytes=expected) as folder:
        folder.write_tensors(STEM, weights)
        folder.write_tensors("optimizer", moments)
        with folder.together():
            if run.world.is_first:
                describe_model(folder.path, model, run.tokenizer)
                (folder.path / "state.json").write_text(json.dumps(state, allow_nan=False, indent=1))
    return run.checkpoints.path(progress.step)


def load_state(folder: Path) -> dict[str, Any]:
    """Return a checkpoint's state.json. Raises DataError for one that is not a training checkpoint of this format."""
    try:
        state = parse_json((folder / "state.json").read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{folder} has no state.json: it is a model without the state of its training") from error
    except ValueError as error:
        raise DataError(f"{folder / 'state.json'} is not valid JSON: {error}") from error
    if not isinstance(state, dict):
        raise DataError(f"{folder / 'state.json'} holds no JSON object: the checkpoint is damaged")
    if state.get("format") != FORMAT:
        raise ResumeError(f"{folder} was written in format {state.get('format')}; this textmill reads format {FORMAT}")
    wrong = [key for key, kind in _KINDS.items() if not isinstance(state.get(key), kind)]
    if wrong or not isinstance(state["identity"].get("global_batch"), int):
        raise DataError(f"{folder / 'state.json'} is damaged: {(wrong or ['identity'])[0]} is not what it must be")
    return state


def restore(run: Run, folder: Path, state: dict[str, Any]) -> None:
    """The run is where it was when the checkpoint in `folder` was saved: weights, optimizer, engine and progress."""
    with run.engine.loading() as (model, optimizer), run.world.together():
        load_weights(model, folder)
        tensors = load_sharded(folder, "optimizer")  # backed by the files, of which each process reads its part
        restore_optimizer(optimizer, model, tensors, state["optimizer_groups"])
    with in_good_shape(folder / "state.json", "resume from another checkpoint"):
        run.engine.load_state(state["engine"])
        run.progress = Progress.from_state(state["progress"], run.world)
    run.elapsed_before = run.progress.elapsed_seconds
    run.last_saved_step = run.progress.step if not run.progress.chores_pending else None
    norm = state["grad_norm"]
    run.final_norm = torch.tensor(math.nan if norm is None else norm, device=run.world.device)


def _plain(number: float) -> float | None:
    return number if math.isfinite(number) else None
