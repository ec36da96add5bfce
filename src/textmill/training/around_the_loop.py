"""What is opened before the loop and written after it, however it ends."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from textmill.console.command_line import program
from textmill.console.standard_streams import note
from textmill.errors import CannotWriteError, Interrupted, TextmillError
from textmill.files import retry_stale
from textmill.runs import layout
from textmill.runs.recorded_files import is_as_written
from textmill.tracking.training_curves import draw_training_curves
from textmill.training.run import LEFT, Run
from textmill.training.run_files import write_config, write_status
from textmill.training.saving import save, save_interrupted
from textmill.training.start_and_end_summary import closing_lines


@contextmanager
def running(run: Run, log_sizes: dict[str, int], *, trains: bool = True) -> Iterator[None]:
    """Open logs and trackers; after the block save the last state, link the models, draw the curves, tell the person.

    log_sizes: sizes to cut the logs of an earlier session to, by name; what was written later is written again.
    trains: whether a step is left to take. Without one config.yaml stays: it says how the steps were taken.
    Interrupted ends the block quietly, after saving, with `run.stop_reason` set.
    """
    first = run.world.is_first
    with run.world.together():
        if first:
            _open(run, log_sizes, trains=trains)
    compiles = hasattr(run.engine.model, "_orig_mod")
    first_step = "compiling the model, which the first step waits for" if compiles else "training"
    run.reporting.screen.begin(run.progress.step, run.progress.total_steps, first_step)
    status, code, reason = "failed", 70, "an error"
    try:
        try:
            with run.world.ending(partial(_last_words, run)), run.world.watched():
                yield
            with run.reporting.screen.during("saving"):
                save(run, last=True)
        except Interrupted as error:
            run.stop_reason = signal.Signals(error.signal_number).name
            save_interrupted(run)
        reason = run.stop_reason or LEFT
        if first and run.signal is None:
            _say_left_out(run)
        status = "finished" if run.signal is None else "interrupted"
        code = 0 if run.signal is None else 128 + run.signal
    except BaseException as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        code = (
            error.exit_code if isinstance(error, TextmillError) else 130 if isinstance(error, KeyboardInterrupt) else 70
        )
        raise
    finally:
        run.reporting.screen.end()
        if first:
            _close(run, status, code, reason)
        if status != "failed":
            run.world.barrier()  # nobody leaves before the run's files are complete


@contextmanager
def looking(run: Run) -> Iterator[None]:
    """For a run with nothing left to do and a whole record: none of its files is written, the person is told."""
    yield
    run.stop_reason = run.stop_reason or LEFT
    save(run, last=True)  # which only links a model that is missing
    run.reporting.screen.end()
    if run.world.is_first:
        _tell(run, run.stop_reason)
    run.world.barrier()


def _last_words(run: Run, reason: str) -> None:
    """Say and write why a process ends that waits in vain for another one."""
    note(f"textmill: error: {reason}")
    if run.world.is_first:
        resumable = bool(run.saving.checkpoints.steps())
        write_status(run.folder, "failed", exit_code=69, reason=reason, resumable=resumable, step=run.progress.step)


def _open(run: Run, log_sizes: dict[str, int], *, trains: bool) -> None:
    """Open logs and trackers, and write in the run's files that it is under way."""
    run.reporting.open_logs(run.folder, log_sizes)
    if trains or not is_as_written(run.folder / layout.CONFIG):
        write_config(run.folder, run.config, run.saving.identity["model"])
    write_status(run.folder, "running", exit_code=None, reason="", resumable=True, step=run.progress.step)
    run.reporting.trackers.start(run.described())


def _say_left_out(run: Run) -> None:
    """Say which periodic actions were asked for, and never done by a loop of the user's own."""
    offsets = run.reporting.log_sizes()
    asked = {"eval_steps": (run.eval_every, "metrics"), "sample_steps": (run.sample_every, "samples")}
    for name, (cadence, log) in asked.items():
        due = any(cadence.due(step) for step in range(1, run.progress.step + 1))
        if run.config.given(name) and due and not offsets[log] and (run.held_out or name != "eval_steps"):
            run.reporting.screen.say(
                f"{name}: had no effect, because the loop never did it; call textmill.periodic_actions(run, step) in it"
            )


def _close(run: Run, status: str, code: int, reason: str) -> None:
    """Close what was opened, and write in the run's files how it ended."""
    run.reporting.close_logs()
    try:
        _show_the_end(run, status)
    finally:  # also when a second Ctrl-C ends a tracker's last upload, or the picture
        if not run.opened_folder.is_gone:
            _write_the_end(run, status, code, reason)
    if run.opened_folder.is_gone:
        return
    if status != "failed":
        _tell(run, reason)


def _tell(run: Run, reason: str) -> None:
    """Tell the person how the run stands, and what to do with it."""
    screen = run.reporting.screen
    for name, text in retry_stale(lambda: closing_lines(run, reason)):
        (screen.command if text.startswith(program()) else screen.field)(name, text)


def _show_the_end(run: Run, status: str) -> None:
    """End the trackers and draw the curves."""
    run.reporting.trackers.finish(status)
    if run.opened_folder.is_gone:
        return
    try:
        with run.reporting.screen.during("drawing the curves"):
            draw_training_curves(run.folder)
    except Exception as error:  # a picture is never worth a run
        run.reporting.screen.say(f"the curves are not drawn: {error}")


def _write_the_end(run: Run, status: str, code: int, reason: str) -> None:
    """Write in status.json how the run ended."""
    resumable = bool(run.saving.checkpoints.steps()) and status != "finished"
    try:
        write_status(run.folder, status, exit_code=code, reason=reason, resumable=resumable, step=run.progress.step)
    except (CannotWriteError, OSError) as error:  # it must not hide why the run ended
        run.reporting.screen.say(str(error))
