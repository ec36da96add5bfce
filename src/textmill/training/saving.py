"""Saving a run: a checkpoint of the step it is at, and best_model/ where that step is the best."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from textmill.checkpoint.best_and_final import is_linked, link_model
from textmill.checkpoint.manifest import manifest_problems
from textmill.errors import WriteFailedError
from textmill.files import remove_directory, retry_stale
from textmill.runs import layout
from textmill.training.checkpoint_state import save_checkpoint
from textmill.training.next_command import resuming_call
from textmill.training.run import Run

FAILED_SAVES_ALLOWED = 3
"""Checkpoints in a row that may fail to be written before the run ends."""


def save(run: Run, *, last: bool = False) -> None:
    """Save a checkpoint of this step, unless there is one; if its validation loss is the lowest, link best_model/.

    Warns when the disk refuses it, because the next save tries again. The `last` save of a run also links final/. All
    processes call it.

    Raises:
        WriteFailedError: the disk refused the third save in a row, or the last one; the run folder was deleted.
    """
    run.opened_folder.refuse_deleted()
    saving, progress = run.saving, run.progress
    new = saving.last_saved_step != progress.step
    if new:
        run.refuse_divergence()
    with _tried_again_later(run, last=last):
        if new:
            sizes = run.reporting.log_sizes(on_disk=True)
            with run.world.alone() if run.engine.writers == 1 else nullcontext():
                retry_stale(lambda: save_checkpoint(run, progress, sizes, interrupted=run.signal is not None))
            saving.last_saved_step = progress.step
        if last:
            _link(run, layout.FINAL, layout.BEST_MODEL)
        elif new and progress.improved:
            _link(run, layout.BEST_MODEL)


def save_interrupted(run: Run) -> None:
    """Save a checkpoint from which a resumed run begins with the periodic actions of this step, and link the models.

    For a stop in the middle of them: what they have changed so far is left out. Raises WriteFailedError.
    """
    run.opened_folder.refuse_deleted()
    saving, step = run.saving, run.progress.step
    with _tried_again_later(run, last=True):
        if step not in (0, saving.last_saved_step):
            progress = saving.before_actions.copy()
            progress.actions_pending = True
            retry_stale(lambda: save_checkpoint(run, progress, saving.log_sizes, interrupted=True))
            saving.last_saved_step = step
        _link(run, layout.FINAL, layout.BEST_MODEL)


def restore_best_model(run: Run) -> None:
    """Make best_model/ that of the best step of a progress that was restored. All processes call it."""
    folder, step = run.folder / layout.BEST_MODEL, run.progress.best_step
    if step is None and run.world.is_first and folder.is_dir():
        remove_directory(folder)
    if step is not None and not run.saving.checkpoints.has(step):
        run.reporting.screen.say(f"{folder} stays that of a step that was undone: step {step:,} has no checkpoint now")
    _link(run, layout.BEST_MODEL)


def repair_models(run: Run) -> None:
    """Make best_model/ anew if it is missing or damaged, and final/ if it is damaged; say so. All processes call it.

    For a run that has just restored its newest checkpoint.
    """
    with run.world.together():
        if run.world.is_first:
            for name, step in ((layout.BEST_MODEL, run.progress.best_step), (layout.FINAL, run.saving.last_saved_step)):
                if step is not None:
                    retry_stale(lambda name=name, step=step: _repair(run, name, step))


def _repair(run: Run, name: str, step: int) -> None:
    """Make a model folder anew from the checkpoint of `step` if it has to be; see `repair_models`."""
    folder, checkpoints = run.folder / name, run.saving.checkpoints
    if (folder / layout.MANIFEST).is_file():
        problems = manifest_problems(folder, more_allowed=True)
        state = f"is damaged ({'; '.join(problems)})" if problems else ""
    else:  # a whole one without a manifest was changed by hand
        state = "is missing" if name == layout.BEST_MODEL and not layout.is_model(folder) else ""
    if not state:
        return
    if checkpoints.verify(step):
        run.reporting.screen.say(f"{folder} {state}, and there is no undamaged checkpoint of its step, {step:,}")
        return
    link_model(checkpoints.path(step), folder)
    run.reporting.screen.say(f"{folder} {state}: it is written anew from the checkpoint of step {step:,}")


def _link(run: Run, *names: str) -> None:
    """Link the models of these names: final/ of the last step, best_model/ of the best. All processes call it."""
    steps = {layout.BEST_MODEL: run.progress.best_step, layout.FINAL: run.saving.last_saved_step}
    checkpoints = run.saving.checkpoints

    def link() -> None:
        for name in names:
            if (step := steps[name]) is None or not checkpoints.has(step):
                continue
            if not is_linked(checkpoints.path(step), run.folder / name):
                link_model(checkpoints.path(step), run.folder / name)

    with run.world.together():
        if run.world.is_first:
            retry_stale(link)


def _remedy(error: WriteFailedError) -> str:
    """Return what to do about a disk that refused a save."""
    cause = error.__cause__  # none: it was found too full before anything was written
    full = not isinstance(cause, OSError) or cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return "Free space on the disk" if full else "See that the disk can be written to again"


@contextmanager
def _tried_again_later(run: Run, *, last: bool) -> Iterator[None]:
    """Say that the disk refused the block's save instead of raising WriteFailedError, if another one will be tried."""
    saving = run.saving
    try:
        yield
    except WriteFailedError as error:
        saving.failed_in_row += 1
        if last or saving.failed_in_row >= FAILED_SAVES_ALLOWED:
            steps = saving.checkpoints.steps()
            left = f"the run can be resumed from step {steps[-1]:,}" if steps else "nothing of the run is saved"
            error.args = (f"{error}; {left}. {_remedy(error)}, then: {resuming_call(run)}",)
            raise
        run.reporting.screen.say(f"{error}; training continues and will retry at the next save")
    else:
        saving.failed_in_row = 0
