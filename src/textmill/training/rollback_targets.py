"""The checkpoints that a rollback may return to: those that the run has however often it was interrupted."""

from typing import Any

from textmill.checkpoint.checkpoint_store import CheckpointStore
from textmill.files import read_object
from textmill.runs import layout
from textmill.training.progress import Progress

INTERRUPTED = "interrupted"
"""The entry of state.json that says that a checkpoint was saved because a signal ended the run."""


def target_steps(checkpoints: CheckpointStore) -> list[int]:
    """Return the steps of the checkpoints that a rollback may return to, in ascending order, good or damaged."""
    return [step for step in checkpoints.steps() if not _state(checkpoints, step).get(INTERRUPTED)]


def steps_to_keep(checkpoints: CheckpointStore, progress: Progress, *, interrupted: bool) -> set[int]:
    """Return the steps whose checkpoints have to stay beside that of `progress`, which is about to be saved.

    They are the newest ones, as many as the store keeps, one that lies before every spike that is not found yet, and
    the one to return to by hand when no rollbacks are left. With each, its best step: going back makes it the best
    again.

    interrupted: the new one is no target itself.
    """
    targets = target_steps(checkpoints)
    newest = checkpoints.keep if interrupted or checkpoints.keep is None else checkpoints.keep - 1
    stay = targets if newest is None else targets[len(targets) - min(newest, len(targets)) :]
    first_unread = progress.step - progress.spikes.num_unread + 1
    before = [step for step in targets if step <= first_unread - 2]
    stay = {*stay, *(before[-1:] or targets[:1]), progress.return_to}
    best = {_state(checkpoints, step).get("progress", {}).get("best_step") for step in stay if step is not None}
    return {step for step in {*stay, *best} if step is not None}


def _state(checkpoints: CheckpointStore, step: int) -> dict[str, Any]:
    return read_object(checkpoints.path(step) / layout.STATE)
