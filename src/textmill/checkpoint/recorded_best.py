"""Which step of a run had the lowest validation loss, as its checkpoints record it, and whether its model is left."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textmill.checkpoint.checkpoint_store import CheckpointStore
from textmill.errors import DataError
from textmill.files import listed_problems, read_json, report_damage
from textmill.runs.layout import MANIFEST, STATE


@dataclass(frozen=True)
class RecordedBest:
    """The best step of a run. checkpoint: its folder, if it is kept and undamaged; problem: why there is none."""

    checkpoint: Path | None
    problem: str = ""


def recorded_best(store: CheckpointStore) -> RecordedBest | None:
    """Return the best step that the newest checkpoint records; None if no checkpoint records any.

    Where the newest one is damaged, an older one only tells that there was a best step, not which.
    """
    steps, damage = store.steps(), ""
    for step in reversed(steps):
        try:
            best = best_step(store, step)
        except DataError as error:
            damage = damage or str(error)
            continue
        if best is None:
            return None
        if damage:
            return RecordedBest(None, f"which step was the best is not known any more ({damage})")
        if best not in steps:
            return RecordedBest(None, f"the checkpoint of the best step, {best}, is not kept")
        folder = store.path(best)
        if problems := store.verify(best):
            return RecordedBest(None, f"the checkpoint of the best step, {folder}, is damaged ({'; '.join(problems)})")
        return RecordedBest(folder)
    return None


def best_step(store: CheckpointStore, step: int) -> int | None:
    """Return the step of the lowest validation loss, as the checkpoint of `step` records it; None without validation.

    Raises DataError if the checkpoint does not say it any more.
    """
    folder = store.path(step)
    with report_damage(folder / STATE, "name another checkpoint, such as step-500"):
        return read_state(folder)["progress"]["best_step"]


def read_state(checkpoint: Path) -> dict[str, Any]:
    """Return the state of a checkpoint, without looking at its other files. Raises DataError if it is damaged."""
    if not (checkpoint / MANIFEST).is_file():
        problems = [f"{MANIFEST} is missing"]
    else:
        problems = listed_problems(checkpoint, [STATE])
    if problems:
        raise DataError(f"the checkpoint {checkpoint} is damaged: {'; '.join(problems)}")
    return read_json(checkpoint / STATE)
