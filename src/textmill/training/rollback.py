"""Going back to the last checkpoint before a loss spike, and leaving out the rows that led to it."""

from dataclasses import replace

from textmill.files import wait_until_seen
from textmill.runs.layout import STATE
from textmill.training.checkpoint_state import load_state, restore
from textmill.training.loss_spikes import Rollback, Spike
from textmill.training.next_command import return_command
from textmill.training.rollback_targets import target_steps
from textmill.training.run import Run
from textmill.training.saving import restore_best_model

MOST_ROLLBACKS = 5
"""Rollbacks of one run, over all sessions; spikes after them are reported only."""


def roll_back(run: Run, spike: Spike) -> bool:
    """Restore the newest good checkpoint before `spike` if `on_spike` says so; return whether it was done.

    The steps that follow read the rows as before, without those of the spike and of the step before it, whose update
    may have caused it. The logs are cut to the checkpoint, so that they have every step once. All processes call it.
    """
    if run.config.training.on_spike != "rollback":
        return False
    before, say = run.progress, run.reporting.screen.say
    if len(before.rollbacks.made) >= MOST_ROLLBACKS:
        _go_on(run, spike)
        return False
    target = run.world.from_first(lambda: _last_good_step(run, spike.first - 2))
    if target is None:
        more = "--save-steps saves more of them, --save-total-limit keeps more"
        say(f"there is no checkpoint from before step {spike.first - 1}: the run goes on; {more}")
        return False
    rollbacks = before.rollbacks
    folder = run.saving.checkpoints.path(target)
    with run.world.together():
        wait_until_seen(folder / STATE)
        state = load_state(folder)
    started_at = run.started_at
    restore(run, folder, state)
    run.started_at = started_at  # the time that the undone steps took was spent
    step = run.progress.step
    undone = Rollback(
        spike_step=spike.first,
        loss=spike.loss,
        bound=spike.bound,
        step=step,
        first=rollbacks.position(spike.first - 2),
        end=rollbacks.position(spike.last - 1) + 1,
    )
    run.progress.rollbacks = rollbacks.with_one(undone)
    run.progress.spikes = replace(run.progress.spikes, found=before.spikes.found)
    if run.world.is_first:
        run.reporting.cut_logs(state["log_offsets"])
        run.reporting.trackers.start_again(run.described())
        run.saving.checkpoints.discard_after(step)
    run.world.barrier()  # nobody looks for a checkpoint that is being deleted
    restore_best_model(run)
    say(
        f"rolled back to step {step} (number {len(run.progress.rollbacks.made)} of at most {MOST_ROLLBACKS}): "
        f"the rows of {undone.end - undone.first} steps are skipped"
    )
    return True


def _go_on(run: Run, spike: Spike) -> None:
    """Say that no rollbacks are left; keep the newest good checkpoint before the first such spike from now on."""
    progress = run.progress
    if progress.return_to is None:
        progress.return_to = run.world.from_first(lambda: _last_good_step(run, spike.first - 2))
        run.saving.before_actions = progress.copy()
    how = ""
    if (step := progress.return_to) is not None:
        how = f", from step {step:,}, which is kept: {return_command(run, step)}"
    most = f"the run was rolled back {MOST_ROLLBACKS} times, which is the most: it goes on"
    run.reporting.screen.say(f"{most}. Lower --learning-rate{how}")


def _last_good_step(run: Run, newest: int) -> int | None:
    """Return the newest checkpoint of step `newest` or before it that verifies."""
    checkpoints = run.saving.checkpoints
    targets = (step for step in reversed(target_steps(checkpoints)) if step <= newest)
    return next((step for step in targets if not checkpoints.verify(step)), None)
