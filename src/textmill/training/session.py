"""The beginning and the end of a run: what is said, opened and written around the loop."""

from __future__ import annotations

import platform
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy
import torch

import textmill
from textmill import files
from textmill.checkpoint.link_model import publish
from textmill.checkpoint.log_file import Log
from textmill.console.format import count, duration, size
from textmill.console.terminal import program
from textmill.data.store.corpus import Corpus
from textmill.errors import Interrupted, TextmillError
from textmill.machine.cpu_contention import busy_sentence
from textmill.runs import layout
from textmill.runs.read_run import read_environment
from textmill.tracking.plot import draw_training_curves
from textmill.training import output_folder as outputs
from textmill.training.run import Run
from textmill.training.training_rows import rows_line

LOG_FILES = {"metrics": layout.METRICS, "steps": layout.STEPS, "samples": layout.SAMPLES}


LITTLE_TEXT = 50_000
"""Bytes of text to train on below which a person is told not to expect much."""


@contextmanager
def session(run: Run, offsets: dict[str, int]) -> Iterator[None]:
    """Logs and trackers are open inside; afterwards the last state is saved, published, drawn and told.

    offsets: sizes to cut the logs of an earlier session to, by name; what was written later is written again.
    Interrupted ends the block quietly, after saving, with `run.stop_reason` set.
    """
    first = run.world.is_first
    with run.world.together():
        if first:
            _open(run, offsets)
    run.screen.begin(run.progress.step, run.progress.total_steps)
    status, code, reason = "failed", 70, "an error"
    try:
        with run.world.watched():
            yield
        reason = run.stop_reason or "left by the caller"
        run.save()
        interrupted = reason.startswith("SIG")
        status = "interrupted" if interrupted else "finished"
        code = 128 + getattr(signal, reason) if interrupted else 0
    except Interrupted as error:
        run.stop_reason = reason = signal.Signals(error.signal_number).name
        run.save_interrupted()
        status, code = "interrupted", error.exit_code
    except BaseException as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        code = (
            error.exit_code if isinstance(error, TextmillError) else 130 if isinstance(error, KeyboardInterrupt) else 70
        )
        raise
    finally:
        run.screen.end()
        if first:
            _close(run, status, code, reason)
        if status != "failed":
            run.world.barrier()  # nobody leaves before the run's files are complete


def _open(run: Run, offsets: dict[str, int]) -> None:
    """Logs and trackers are open, and the run's files say that it is under way."""
    run.screen.open_log(run.folder / layout.TRAIN_LOG, offsets.get(layout.TRAIN_LOG))
    for name, file_name in LOG_FILES.items():
        log = run.logs[name] = Log(run.folder / file_name, say=run.screen.say)
        log.truncate(offsets.get(name, 0))
    reports, evaluations = (files.read_rows(run.folder / LOG_FILES[name]) for name in ("steps", "metrics"))
    run.advice.recall(reports, evaluations, run.setting())
    outputs.write_config(run.folder, run.config.dump(as_asked=True))
    outputs.write_status(run.folder, "running", exit_code=None, reason="", resumable=True, step=run.progress.step)
    run.trackers.start(
        {
            "name": run.config.tracking.run_name or run.folder.name,
            "config": run.config.dump(),
            "step": run.progress.step - int(run.progress.chores_pending),
        }
    )


def _close(run: Run, status: str, code: int, reason: str) -> None:
    """The run's files say how it ended, and everything that was opened is closed."""
    for log in run.logs.values():
        log.close()
    run.trackers.finish(status)
    try:
        if status != "failed":
            _publish(run)
        draw_training_curves(run.folder)
    except (TextmillError, OSError) as error:
        run.screen.say(f"the run's last files are not complete: {error}")
    resumable = bool(run.checkpoints.steps()) and status != "finished"
    outputs.write_status(run.folder, status, exit_code=code, reason=reason, resumable=resumable, step=run.progress.step)
    if status != "failed":
        for name, text in closing_lines(run, reason):
            (run.screen.command if text.startswith(program()) else run.screen.field)(name, text)


def _publish(run: Run) -> None:
    """final/ is the last checkpoint's model and best_model/ the best one's."""
    step, best = run.last_saved_step, run.progress.best_step
    if step is not None:
        publish(run.checkpoints.path(step), run.folder / layout.FINAL)
    if best is not None and best in run.checkpoints.steps():
        publish(run.checkpoints.path(best), run.folder / layout.BEST_MODEL)


def opening_lines(run: Run, corpus: Corpus, preset: str | None) -> list[tuple[str, str]]:
    """Return what a person should know before the first step, as (name, text)."""
    settings, length = run.config.training, run.length
    device = torch.cuda.get_device_name(run.world.device) if run.world.device.type == "cuda" else run.world.device.type
    machine = f"{device}, {run.engine.precision.name}"
    if run.world.device.type == "cpu":
        threads = torch.get_num_threads()
        machine += f", {threads} thread{'s' if threads > 1 else ''}"
    if run.world.size > 1:
        machine += f", {run.world.size} processes ({run.engine.name})"
    train, held_out = corpus.train, corpus.validation
    text = f" of {size(train.num_bytes)} of text" if train.num_bytes else ""
    data = f"{count(train.num_tokens)} tokens{text} to train on"
    data += f", {count(held_out.num_tokens)} to validate on" if held_out else ", none to validate on"
    lines = [("textmill", f"{textmill.__version__} on {machine}"), ("data", sources_line(run, corpus)), ("", data)]
    if corpus.tokenizer is not None:
        per_token = f", {train.num_bytes / train.num_tokens:.2f} bytes per token" if train.num_bytes else ""
        lines.append(("tokenizer", f"{corpus.tokenizer.kind}, {corpus.tokenizer.vocab_size:,} entries{per_token}"))
    packed = rows_line(run.config, run.loader.rows)
    if packed is not None:
        lines.append(("rows", packed))
    model = run.config.model
    parameters = count(run.identity["parameters"])
    layers = f"{model.num_layers} layer{'s' if model.num_layers > 1 else ''}"
    shape = f"{model.architecture}, {layers} of width {model.d_model}, context {model.max_seq_len}, "
    lines.append(
        ("model", (shape if run.is_own_model else f"{type(run.model).__name__}, ") + f"{parameters} parameters")
    )
    if train.num_bytes and train.num_bytes < LITTLE_TEXT:
        lines.append(("note", "this is little text, which a model learns by heart; from about 100 kB on it can write"))
    if run.world.device.type == "cpu" and (busy := busy_sentence(torch.get_num_threads())) is not None:
        lines.append(("note", busy))
    if preset is not None:
        lines.append(("preset", preset))
    optimizer = type(run.engine.optimizer).__name__
    lines.append(("optimizer", f"{optimizer}, learning rate {settings.learning_rate:g}, {settings.lr_schedule}"))
    lines.append(("plan", plan_line(run, settings.gradient_accumulation_steps)))
    lines.append(("output", str(run.folder)))
    done, total = run.progress.step, length.total_steps
    if total is not None and done >= total:
        lines.append(
            ("finished", f"at step {done:,}: nothing to do; a larger --max-steps or --epochs goes on from here")
        )
    elif done:
        lines.append(("resumed", f"at step {done:,} of {f'{total:,}' if total is not None else '?'}"))
    return lines


def sources_line(run: Run, corpus: Corpus) -> str:
    """Return where the text comes from, in a line whatever the number of files."""
    names = [_from_here(name) for name in corpus.sources]
    if run.config.data.data is None and run.config.data.dataset_name is None:
        return f"the source code of Python's standard library, {len(names)} files"
    if len(names) <= 3:
        return ", ".join(names)
    return f"{len(names):,} files: {names[0]} ... {names[-1]}"


def _from_here(path: str) -> str:
    """Return a path below the current folder as it looks from there."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def plan_line(run: Run, accumulation: int) -> str:
    """Return how long the run is, what ends it, and how large a step is."""
    length = run.length
    rows = run.config.training.batch_size
    batch = f"{rows} row{'s' if rows > 1 else ''} of {run.loader.rows.seq_len}"
    if accumulation > 1:
        batch += f" x {accumulation} accumulated"
    if run.world.size > 1:
        batch += f" x {run.world.size} processes"
    if length.rows_per_step != rows:
        batch += f" = {length.rows_per_step:,} rows"
    limit = f"ends at max_time, {duration(length.max_seconds)}" if length.max_seconds else ""
    if length.total_steps is None:
        return f"{limit}; {batch} per step"
    tokens = count(length.total_steps * length.tokens_per_step)
    epochs = f"{length.epochs:.2f} epochs" if length.epochs is not None else ""
    text = f"{length.total_steps:,} steps (set by {length.limit}) of {batch} = {tokens} tokens, {epochs}"
    return text + (f"; {limit} at the latest" if limit else "")


_ENDINGS = {
    "finished": "finished",
    "early stopping": "stopped early",
    "max_time": "time is up",
    "SIGINT": "stopped by Ctrl-C",
    "SIGTERM": "stopped by SIGTERM",
}
"""Why a run ended -> how a person is told, before `at step N`."""


def closing_lines(run: Run, reason: str) -> list[tuple[str, str]]:
    """Return what a person should know when a run has ended, as (name, text); a command begins with `program()`."""
    progress = run.progress
    took = duration(progress.elapsed_seconds)
    ending = f"{_ENDINGS.get(reason, reason)} at step {progress.step:,}"
    lines = [("ended", f"{ending} after {took}, {count(progress.tokens)} tokens")]
    if progress.best_val_loss is not None:
        lines.append(("best", f"validation loss {progress.best_val_loss:.4f} at step {progress.best_step:,}"))
    best = run.folder / layout.BEST_MODEL
    lines.append(("model", f"{run.folder / 'final'}" + (f", the best one in {best}" if best.is_dir() else "")))
    lines.append(("curves", str(run.folder / layout.CURVES)))
    folder = shlex.quote(str(run.folder))
    if reason.startswith("SIG"):
        lines.append(("go on", f"{program()} train --output-dir {folder} --resume"))
    if run.tokenizer is not None and (best.is_dir() or run.last_saved_step is not None):
        lines.append(("try it", f"{program()} generate {folder} --prompt {shlex.quote(_words(run.sample_prompt))}"))
    if reason == "finished" and progress.best_step == progress.step:
        more = f"{program()} train --output-dir {folder} --resume --max-steps {2 * progress.step}"
        lines += [("next", "it was still learning; twice as long may be better:"), ("", more)]
    return lines


def _words(text: str) -> str:
    """Return the first words of the longest line, to be tried as a prompt."""
    line = max(re.sub("<[^<>]*>", "", text).splitlines(), key=len, default="")
    found = re.search(r"[^\W\d_]+( [^\W\d_]+){0,2}", line)
    return found[0] if found else "Once"


def _origins(run: Run) -> dict[str, str]:
    """Return where each value came from that is no default; what a resumed run read from its own file keeps its own."""
    before = read_environment(run.folder).get("origins", {})
    own = str(run.folder / layout.CONFIG)
    origins = {leaf: origin for leaf, origin in run.config.origins.items() if origin != "default"}
    return {leaf: before.get(leaf, "default") if origin == own else origin for leaf, origin in origins.items()}


def environment(run: Run, corpus: Corpus, kernels: dict[str, Any]) -> dict[str, Any]:
    """Return on what and with what the run is made, for environment.json."""
    device = run.world.device
    return {
        "textmill": textmill.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "precision": run.engine.precision.name,
        "processes": run.world.size,
        "kernels": kernels,
        "identity": run.identity,
        "origins": _origins(run),
        "store": str(corpus.folder),
        "vocab_size": run.config.model.vocab_size,
        "command": shlex.join(sys.argv),
    }
