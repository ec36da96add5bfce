"""What continues a run: the command that a person is told, or the call from Python in words."""

from textmill.console.command_line import program, quoted, resume_command
from textmill.data.sources.foreign_settings import needs_trust
from textmill.training.run import LEFT, Run


def next_command(run: Run, reason: str, *, return_to: int | None, advised: bool, longer: bool) -> str:
    """Return what to do with a run that has ended. advised: its evaluations say something; longer: to go on."""
    if return_to is not None:
        return return_command(run, return_to)
    twice = 2 * run.progress.step
    unfinished = reason.startswith("SIG") or reason == LEFT
    if run.saving.has_given_parts and (unfinished or longer):
        return resuming_call(run) if unfinished else f"{resuming_call(run)} and max_steps={twice}"
    if unfinished and (not advised or longer):
        return resuming_call(run)
    if longer:
        return f"{resuming_call(run)} --max-steps {twice}"
    return f"{program()} report {quoted(run.folder)}"


def resuming_call(run: Run) -> str:
    """Return what resumes the run: a command, or, where no command knows its parts, the call from Python in words."""
    if run.saving.has_given_parts:
        return "the same call from Python, with resume=True"
    trust = " --trust" if needs_trust(run.config) else ""
    return f"{resume_command(run.folder)}{trust}"


def return_command(run: Run, step: int) -> str:
    """Return what continues the run from its checkpoint of `step` with a third of the learning rate."""
    rate = f"{run.config.training.learning_rate / 3:.1g}"
    if run.saving.has_given_parts:
        return f"the same call from Python, with resume_from='step-{step}', learning_rate={rate}"
    trust = " --trust" if needs_trust(run.config) else ""
    folder = quoted(run.folder)
    return f"{program()} train --output-dir {folder} --resume-from step-{step} --learning-rate {rate}{trust}"


def is_to_be_returned(run: Run) -> bool:
    """Whether the run is worse than it was before a spike that no rollback undid.

    It has recovered where the training loss is below the bound of the last spike that was undone, and the lowest
    validation loss, if there is one, came later and is below that of guessing.
    """
    progress = run.progress
    if progress.return_to is None:
        return False
    loss = progress.last_train_loss
    if loss is None or not loss < progress.rollbacks.made[-1].bound:
        return True
    if progress.best_step is None or progress.best_val_loss is None:
        return False
    guessing = run.reporting.setting.flat_loss
    return progress.best_step <= progress.return_to or (guessing is not None and progress.best_val_loss > guessing)
