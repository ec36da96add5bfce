"""What a person is told before the first step of a run and after the last one, as (name, text)."""

import re
from pathlib import Path

import torch

from textmill.console.command_line import program, quoted
from textmill.console.number_format import count, duration, plural, size
from textmill.console.whole_characters import phrases
from textmill.data.store.corpus import Corpus
from textmill.machine.cpu_contention import contention_warning
from textmill.machine.memory import container_sentence
from textmill.planning.run_length import KEPT, kept_epochs
from textmill.runs import layout
from textmill.tokenizers import Tokenizer
from textmill.training.next_command import is_to_be_returned, next_command
from textmill.training.run import Run
from textmill.training.training_rows import rows_line
from textmill.version import VERSION

LITTLE_TEXT = 50_000
"""Bytes of training text below which a person is told not to expect much."""

Lines = list[tuple[str, str]]


def opening_lines(
    run: Run, corpus: Corpus, *, kernels: str | None, compiling: str | None, preset: str | None, given_model: bool
) -> Lines:
    """Return what a person should know before the first step.

    kernels, compiling, preset: the sentences about the kernels, about whether the model is compiled, and the preset.
    given_model: whether the model is of your own.
    """
    settings = run.config.training
    lines = [("textmill", f"{VERSION} on {_machine(run)}")]
    if kernels is not None:
        lines.append(("kernels", kernels))
    if compiling is not None:
        lines.append(("compile", compiling))
    lines += _data_lines(run, corpus)
    model = run.config.model
    layers = plural(model.num_layers, "layer")
    shape = f"{model.architecture}, {layers} of width {model.d_model}, context {model.max_seq_len}"
    name = type(run.model).__name__ if given_model else shape
    lines.append(("model", f"{name}, {count(run.saving.identity['parameters'])} parameters"))
    if corpus.train.num_bytes and corpus.train.num_bytes < LITTLE_TEXT:
        lines.append(
            ("note", "this text is so short that a model memorizes it; about 100 kB and more are worth training on")
        )
    if (allowed := container_sentence()) is not None:
        lines.append(("note", allowed))
    if run.world.device.type == "cpu" and (busy := contention_warning(torch.get_num_threads())) is not None:
        lines.append(("note", busy))
    if (note := _precision_note(run)) is not None:
        lines.append(("note", note))
    if preset is not None:
        lines.append(("preset", preset))
    optimizer = type(run.engine.optimizer).__name__
    lines.append(("optimizer", f"{optimizer}, learning rate {settings.learning_rate:g}, {settings.lr_schedule}"))
    lines.append(("plan", _plan(run)))
    lines += _epochs_kept(run)
    lines.append(("output", str(run.folder)))
    done, total = run.progress.step, run.length.total_steps
    if (longer := LONGER.get(run.should_stop() or "")) is not None:
        lines.append(("finished", f"at step {done:,}: nothing to do; {longer} continues from here"))
    elif done:
        lines.append(("resumed", f"at step {done:,} of {f'{total:,}' if total is not None else '?'}"))
    return lines


def _precision_note(run: Run) -> str | None:
    """Return the sentence for a person who asked for mixed precision where it would not be faster."""
    asked = run.config.origins["precision"]
    if not asked.startswith(("--", "keyword")) or run.config.training.precision != "auto":
        return None
    if run.engine.precision.name != "fp32":
        return None
    device = run.world.device.type
    forced = "" if device == "mps" else "; --precision bf16 uses it all the same"
    flag = asked if asked.startswith("--") else "precision"
    return f"{flag} has no effect: half precision is not faster on this {device}, so it trains in fp32{forced}"


LONGER = {
    "finished": "a larger --max-steps or --epochs",
    "early stopping": "a larger --early-stopping-patience (0: none), --max-steps or --epochs",
    "max_time": "a longer --max-time",
}
"""Why a resumed run has nothing left to do -> what gives it more."""


def _machine(run: Run) -> str:
    device, processes = run.world.device, run.world.size
    text = f"{torch.cuda.get_device_name(device) if device.type == 'cuda' else device.type}, "
    text += run.engine.precision.name
    if device.type == "cuda" and run.engine.precision.name == "fp32":
        text += " without TF32"
    if device.type == "cpu":
        threads = torch.get_num_threads()
        text += f", {plural(threads, 'thread')}"
    return text + (f", {processes} processes ({run.engine.name})" if processes > 1 else "")


def _data_lines(run: Run, corpus: Corpus) -> Lines:
    train, held_out, tokenizer = corpus.train, corpus.validation, corpus.tokenizer
    text = f" of {size(train.num_bytes)} of text" if train.num_bytes else ""
    data = f"{count(train.num_tokens)} tokens{text} to train on"
    data += f", {count(held_out.num_tokens)} to validate on" if held_out else ", none to validate on"
    lines = [("data", _sources(run, corpus)), ("", data)]
    if tokenizer is not None:
        per_token = f", {train.num_bytes / train.num_tokens:.2f} bytes per token" if train.num_bytes else ""
        lines.append(("tokenizer", f"{tokenizer.kind}, {tokenizer.vocab_size:,} entries{per_token}"))
    packed = rows_line(run.config, run.loader.rows)
    return lines if packed is None else [*lines, ("rows", packed)]


def _sources(run: Run, corpus: Corpus) -> str:
    """Return where the text comes from, in a line whatever the number of files."""
    here = Path.cwd()
    names = [str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path for path in corpus.sources]
    if run.config.data.data is None and run.config.data.dataset_name is None:
        return f"the source code of Python's standard library, {len(names)} files"
    if len(names) <= 3:
        return ", ".join(names)
    return f"{len(names):,} files: {names[0]} ... {names[-1]}"


def _plan(run: Run) -> str:
    """Return how long the run is, what ends it, and how large a step is."""
    length, settings = run.length, run.config.training
    rows = settings.batch_size
    batch = f"{plural(rows, 'row')} of {run.loader.rows.seq_len}"
    if settings.gradient_accumulation_steps > 1:
        batch += f" x {settings.gradient_accumulation_steps} accumulated"
    if run.world.size > 1:
        batch += f" x {run.world.size} processes"
    if length.rows_per_step != rows:
        batch += f" = {length.rows_per_step:,} rows"
    limit = f"ends at max_time, {duration(length.max_seconds)}" if length.max_seconds else ""
    if length.total_steps is None:
        return f"{limit}; {batch} per step"
    tokens = count(length.total_steps * length.tokens_per_step)
    epochs = f"{length.epochs:.2f} epochs" if length.epochs is not None else ""
    text = f"{plural(length.total_steps, 'step')} (set by {length.limit}) of {batch} = {tokens} tokens, {epochs}"
    return text + (f"; {limit} at the latest" if limit else "")


def _epochs_kept(run: Run) -> Lines:
    """Return which epochs' checkpoints stay, where nobody chose and there are more of them than stay otherwise."""
    settings, epochs = run.config.training, int(run.length.epochs or 0)
    chosen = settings.save_total_limit is not None or settings.save_steps not in (None, "epoch")
    if chosen or run.length.limit != "epochs" or epochs <= KEPT:
        return []
    if kept_epochs(None, run.length, run.saving.identity["parameters"]):
        return [(layout.CHECKPOINTS, f"one per epoch, all {epochs} are kept; --save-total-limit {KEPT} keeps fewer")]
    text = f"one per epoch, the {KEPT} newest and the best are kept; --save-total-limit {epochs} keeps all"
    return [(layout.CHECKPOINTS, text)]


_ENDINGS = {
    "finished": "finished",
    "early stopping": "stopped early",
    "max_time": "time is up",
    "SIGINT": "stopped by Ctrl-C",
    "SIGTERM": "stopped by SIGTERM",
    "SIGHUP": "stopped because the terminal was closed",
}
"""Why a run ended -> how a person is told, before `at step N`."""


def closing_lines(run: Run, reason: str) -> Lines:
    """Return what a person should know when a run has ended; a text that is a command begins with `program()`."""
    progress = run.progress
    took = duration(progress.elapsed_seconds)
    ending = f"{_ENDINGS.get(reason, reason)} at step {progress.step:,}"
    lines = [("ended", f"{ending} after {took}, {count(progress.tokens)} tokens")]
    if progress.best_val_loss is not None:
        lines.append(("best", f"validation loss {progress.best_val_loss:.4f} at step {progress.best_step:,}"))
    best, final = run.folder / layout.BEST_MODEL, run.folder / layout.FINAL
    model = str(best if best.is_dir() else final)
    if best.is_dir() and progress.best_step != progress.step:
        model += f", of step {progress.best_step:,}; the last one is in {final}"
    lines.append(("model", model))
    lines.append(("curves", str(run.folder / layout.CURVES)))
    advice, longer = run.reporting.advice.ending(run.reporting.setting)
    return_to = progress.return_to if is_to_be_returned(run) else None
    if advice is not None and return_to is None:
        lines.append(("note" if longer else "advice", advice))
    if (guessing := run.reporting.advice.no_better_than_guessing(run.reporting.setting)) is not None:
        lines.append(("advice", guessing))
    folder = quoted(run.folder)
    own = run.saving.identity["model"] is not None  # a model from Python, which no command knows
    if not own and run.tokenizer is not None and (best.is_dir() or run.saving.last_saved_step is not None):
        built = f" --model {run.config.training.model}" if run.saving.identity["built_model"] else ""
        lines.append(("try it", f"{program()} generate {folder}{built}{_prompt(run, run.tokenizer)}"))
    return [*lines, ("next", next_command(run, reason, return_to=return_to, advised=advice is not None, longer=longer))]


_LONGEST_PROMPT = 32
"""Characters of the prompt that a person is told to try."""


def _prompt(run: Run, tokenizer: Tokenizer) -> str:
    """Return the flag with a prompt to try: the one that was set, else the first words of the samples' prompt.

    They begin with a word of two letters or more. Without words that the tokenizer knows there is none, and the model
    begins by itself.
    """
    text = run.config.training.sample_prompt or ""
    if not text.isprintable() or not text:
        plain = re.sub("<[^<>]*>", "", run.sample_prompt)
        lines = [max(plain.splitlines(), key=len, default=""), plain]
        words = [phrase for line in lines for phrase in phrases(line, _LONGEST_PROMPT)]
        text = next((phrase for phrase in words if _spells(tokenizer, phrase)), "")
    known = text and _spells(tokenizer, text)
    return f" --prompt {quoted(text)}" if known else ""


def _spells(tokenizer: Tokenizer, text: str) -> bool:
    return tokenizer.decode(tokenizer.encode(text)) == tokenizer.normalized(text)
