"""Whether a run that goes on has steps left to take: without one, nothing that was recorded of it may change."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from textmill.config.run_config import LENGTHS
from textmill.files import read_object, retry_stale
from textmill.runs import layout
from textmill.runs.recorded_files import damage, has_own_hash
from textmill.training.run import Run
from textmill.training.start_and_end_summary import LONGER


@dataclass(frozen=True)
class StepsLeft:
    """trains: whether the run takes a step. untouched: it does not, and its files say all of it already.

    without_effect: the sentence about settings given now that no step is left for, "" for none.
    """

    trains: bool
    untouched: bool
    without_effect: str


def steps_left(run: Run, changes: Mapping[str, Any]) -> StepsLeft:
    """Return what is left to do of a run at the step of its checkpoint. All processes call it.

    changes: the settings that are not those of the steps so far.
    """
    reason = run.should_stop()
    if reason not in LONGER or not run.progress.step:
        return StepsLeft(trains=True, untouched=False, without_effect="")
    untouched = not run.progress.actions_pending and run.world.from_first(
        lambda: retry_stale(lambda: _is_recorded(run, reason))
    )
    names = [name for name in changes if name not in LENGTHS]
    sentence = f"no step is left to take: {', '.join(names)} will have no effect" if names else ""
    return StepsLeft(False, untouched, sentence)


def _is_recorded(run: Run, reason: str) -> bool:
    """Whether the run's files are whole and say that it ended here, for this reason."""
    status = read_object(run.folder / layout.STATUS)
    ended = {"state": "finished", "exit_code": 0, "reason": reason, "step": run.progress.step}
    same = all(status.get(name) == value for name, value in ended.items())
    return same and bool(has_own_hash(status)) and not damage(run.folder) and (run.folder / layout.CURVES).exists()
