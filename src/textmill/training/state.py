"""What a checkpoint holds of a run, and how a run takes it back."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from textmill.checkpoint.folder import load_weights, save_model_folder
from textmill.checkpoint.optimizer import flatten_optimizer, restore_optimizer
from textmill.checkpoint.tensors import load_tensors, refuse_non_finite, save_tensors
from textmill.errors import DataError, ResumeError
from textmill.training.progress import Progress

if TYPE_CHECKING:
    from textmill.training.run import Run

FORMAT = 1
"""Version of state.json; raised when an older textmill could not read a newer one."""


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
    weights = run.engine.whole(model.state_dict())
    parts, state["optimizer_groups"] = flatten_optimizer(optimizer, model)
    optimizer_tensors = run.engine.whole(parts)

    def write(temporary: Path) -> None:
        save_model_folder(temporary, run.model, run.tokenizer, weights=weights)
        save_tensors(temporary / "optimizer.safetensors", optimizer_tensors)
        (temporary / "state.json").write_text(json.dumps(state, allow_nan=False, indent=1))

    with run.world.together():
        if run.world.is_first:
            refuse_non_finite(weights)
            expected = sum(tensor.nbytes for tensor in (*weights.values(), *optimizer_tensors.values()))
            protect = [progress.best_step] if progress.best_step is not None else []
            run.checkpoints.save(progress.step, write, protect=protect, expected_bytes=expected)
    return run.checkpoints.path(progress.step)


def load_state(folder: Path) -> dict[str, Any]:
    """Return a checkpoint's state.json. Raises DataError for one that is not a training checkpoint of this format."""
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{folder} has no state.json: it is a model without the state of its training") from error
    except ValueError as error:
        raise DataError(f"{folder / 'state.json'} is not valid JSON: {error}") from error
    if state.get("format") != FORMAT:
        raise ResumeError(f"{folder} was written in format {state.get('format')}; this textmill reads format {FORMAT}")
    return state


def restore(run: Run, folder: Path, state: dict[str, Any]) -> None:
    """The run is where it was when the checkpoint in `folder` was saved: weights, optimizer, engine and progress."""
    with run.engine.loading() as (model, optimizer), run.world.together():
        load_weights(model, folder)
        tensors = load_tensors(folder / "optimizer.safetensors")  # on the CPU, from where each process takes its part
        restore_optimizer(optimizer, model, tensors, state["optimizer_groups"])
    run.engine.load_state(state["engine"])
    run.progress = Progress.from_state(state["progress"], run.world)
    run.elapsed_before = run.progress.elapsed_seconds
    run.last_saved_step = run.progress.step if not run.progress.chores_pending else None
    norm = state["grad_norm"]
    run.final_norm = torch.tensor(math.nan if norm is None else norm, device=run.world.device)


def _plain(number: float) -> float | None:
    return number if math.isfinite(number) else None
