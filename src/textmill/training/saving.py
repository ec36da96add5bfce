"""Saving a run: a checkpoint of the step it is at, and best_model/ where that step is the best."""

from textmill.checkpoint.best_and_final import link_model
from textmill.errors import WriteFailedError
from textmill.runs import layout
from textmill.training.checkpoint_state import save_checkpoint
from textmill.training.progress import Progress
from textmill.training.run import Run

FAILED_SAVES_ALLOWED = 3
"""Checkpoints in a row that may fail to be written before the run ends."""


def save(run: Run) -> None:
    """Save a checkpoint of this step, unless there is one; if its validation loss is the lowest, link best_model/.

    Warns when the disk refuses it, and raises WriteFailedError the third time in a row. All processes call it.
    """
    saving, progress = run.saving, run.progress
    if saving.last_saved_step == progress.step:
        return
    run.refuse_divergence()
    _save(run, progress, run.reporting.log_sizes(on_disk=True))
    if progress.improved and run.world.is_first and saving.last_saved_step == progress.step:
        link_model(saving.checkpoints.path(progress.step), run.folder / layout.BEST_MODEL)


def save_interrupted(run: Run) -> None:
    """Save a checkpoint from which a resumed run begins with the periodic actions of this step.

    For a stop in the middle of them: what they have changed so far is left out.
    """
    if run.progress.step == 0 or run.saving.last_saved_step == run.progress.step:
        return
    progress = run.saving.before_actions.copy()
    progress.actions_pending = True
    _save(run, progress, run.saving.log_sizes)


def _save(run: Run, progress: Progress, log_sizes: dict[str, int]) -> None:
    saving = run.saving
    try:
        save_checkpoint(run, progress, log_sizes)
    except WriteFailedError as error:
        saving.failed_in_row += 1
        if saving.failed_in_row >= FAILED_SAVES_ALLOWED:
            raise
        run.reporting.screen.say(f"{error}; training continues and will retry at the next save")
        return
    saving.failed_in_row = 0
    saving.last_saved_step = progress.step
