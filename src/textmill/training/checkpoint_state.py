"""What a checkpoint contains of a run, and how a run is restored from it."""

import json
import math
from pathlib import Path
from typing import Any

import torch

from textmill.checkpoint.generation_config import read_generation
from textmill.checkpoint.model_folder import STEM, describe_model, load_weights, stored_weights
from textmill.checkpoint.optimizer_state import flatten_optimizer, restore_optimizer
from textmill.checkpoint.safetensors_files import local_shard, refuse_non_finite
from textmill.checkpoint.saved_settings import SETTINGS, settings_to_save
from textmill.checkpoint.sharded_tensors import load_sharded
from textmill.errors import DataError, ResumeError
from textmill.files import parse_json, read_bytes, report_damage
from textmill.model.imported_model import OwnModel
from textmill.runs import layout
from textmill.training.progress import Progress
from textmill.training.rollback_targets import INTERRUPTED, steps_to_keep
from textmill.training.run import Run
from textmill.training.write_checkpoint import new_checkpoint

FORMAT = 4
"""Version of state.json; raised when an older textmill could not read a newer one."""

READABLE = (1, 2, 3, 4)
"""Format 1 called `actions_pending` `chores_pending`; 1 and 2 had `early_stopped`; those before 4 had no loss spikes;
see `Progress.from_state`.
"""

_KINDS = {
    "progress": dict,
    "epoch": (int, float),
    "engine": dict,
    "log_offsets": dict,
    "identity": dict,
    "optimizer_groups": list,
}
"""The entries of state.json besides its format."""


def save_checkpoint(run: Run, progress: Progress, log_sizes: dict[str, int], *, interrupted: bool) -> None:
    """Write a durable checkpoint of `progress` and the weights as they are. All processes call it.

    log_sizes: bytes of the log files that belong to this state. interrupted: it is saved because a signal ended the
    run, so that a run without the interruption does not have it. Raises NonFiniteError for weights that are not finite,
    CannotWriteError when it cannot be written.
    """
    saving, norm = run.saving, float(run.grad_norm)
    state: dict[str, Any] = {
        "format": FORMAT,
        "progress": progress.state(run.world),
        "epoch": run.current_step().epoch,
        "engine": run.engine.state(),
        "log_offsets": log_sizes,
        "identity": saving.identity,
        SETTINGS: settings_to_save(run.config),
        INTERRUPTED: interrupted,
        "grad_norm": norm if math.isfinite(norm) else None,
    }
    model, optimizer = run.engine.snapshot()
    weights = stored_weights(model)
    moments, state["optimizer_groups"] = flatten_optimizer(optimizer, model)
    with run.world.together():
        refuse_non_finite({name: local_shard(tensor) for name, tensor in weights.items()})
    expected = sum(tensor.nbytes for tensor in (*weights.values(), *moments.values()))
    targets = set[int]()
    returns = run.config.training.on_spike == "rollback" or progress.return_to is not None
    if returns and run.world.is_first:
        targets = steps_to_keep(saving.checkpoints, progress, interrupted=interrupted)

    def keep(step: int) -> bool:
        return run.keep_every.due(step) or step in targets

    with new_checkpoint(saving.checkpoints, run.engine, progress, keep=keep, expected_bytes=expected) as folder:
        folder.write_tensors(STEM, weights)
        folder.write_tensors(layout.OPTIMIZER, moments)
        with folder.together():
            if run.world.is_first:
                describe_model(folder.path, model, run.tokenizer, saving.end_ids, own=_own_model(run))
                content = json.dumps(state, allow_nan=False, indent=1)
                (folder.path / layout.STATE).write_bytes(content.encode())


def _own_model(run: Run) -> OwnModel | None:
    """Return what is recorded of a model that the configuration does not describe, None for one that it does."""
    identity, builder = run.saving.identity, run.config.training.model
    name = identity["model"] or identity["built_model"]
    return None if name is None else OwnModel(name, builder, run.config.model.resolved() if builder else None)


def load_state(folder: Path) -> dict[str, Any]:
    """Return a checkpoint's state.json. Raises DataError for one that is not a training checkpoint of this format."""
    try:
        state = parse_json(read_bytes(folder / layout.STATE))
    except FileNotFoundError as error:
        raise DataError(f"{folder} has no state.json: it is a model without the state of its training") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / layout.STATE} is not valid JSON: {error}") from error
    if not isinstance(state, dict):
        raise DataError(f"{folder / layout.STATE} is not a JSON object: the checkpoint is damaged")
    if state.get("format") not in READABLE:
        formats = " and ".join(map(str, READABLE))
        raise ResumeError(f"{folder} has format {state.get('format')}; this textmill reads formats {formats}")
    wrong = [key for key, kind in _KINDS.items() if not isinstance(state.get(key), kind)]
    if wrong or not isinstance(state["identity"].get("global_batch"), int):
        raise DataError(f"{folder / layout.STATE} is damaged: {(wrong or ['identity'])[0]} is not as it was written")
    return state


def restore(run: Run, folder: Path, state: dict[str, Any]) -> None:
    """Set weights, optimizer, engine and progress to those of the checkpoint in `folder`, with this state.json.

    The tokens that end a text in its model remain those of the run's model.
    """
    with run.engine.loading() as (model, optimizer), run.world.together():
        load_weights(model, folder)
        tensors = load_sharded(folder, layout.OPTIMIZER)  # backed by the files; each process reads its shards only
        restore_optimizer(optimizer, model, tensors, state["optimizer_groups"])
    with report_damage(folder / layout.STATE, "resume from another checkpoint"):
        run.engine.load_state(state["engine"])
        run.progress = Progress.from_state(state["progress"], run.world)
    run.started_at -= run.progress.elapsed_seconds
    run.saving.end_ids = read_generation(folder).end_ids
    run.saving.last_saved_step = run.progress.step if not run.progress.actions_pending else None
    norm = state["grad_norm"]
    run.grad_norm = torch.tensor(math.nan if norm is None else norm, device=run.world.device)
