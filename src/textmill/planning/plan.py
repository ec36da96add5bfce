"""What a run will need, before it starts: parameters, steps, tokens, FLOPs, memory, disk and time."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

from textmill.config.consistency import fit_batch, fit_dropout, fit_model, fit_vocab, fit_warmup, replaced
from textmill.config.huggingface import OWN_MODEL_TYPE, export_problem
from textmill.config.run_config import LENGTHS, Config
from textmill.errors import ConfigError
from textmill.planning.fit_memory import Hardware, fit_rows
from textmill.planning.logits import evaluation_rows
from textmill.planning.memory import Memory, StepSettings, estimate_memory, optimizer_bytes
from textmill.planning.parameter_count import ParameterCount, count_parameters, flops_per_token
from textmill.planning.run_length import KEPT, Length, kept_epochs, plan_length

EXTRA_CHECKPOINTS = 2
"""Checkpoints on disk besides those that are kept: the best one, and the one that is being written."""


@dataclass(frozen=True)
class Text:
    """The text of a run in numbers: token ids to train and to validate on.

    learned: whether a BPE tokenizer was trained on this text. rows, row_tokens: rows of the training set and targets of
    each, if whole documents are packed; None if the text is one stream. estimated: whether the numbers are estimates.
    """

    train_tokens: int
    validation_tokens: int
    vocab_size: int
    learned: bool = False
    rows: int | None = None
    row_tokens: int | None = None
    estimated: bool = False


@dataclass(frozen=True)
class Plan:
    """A run in numbers. flops: of all training. checkpoint: bytes of one. disk: most bytes on disk at once.

    kept: checkpoints that stay, besides the best one. seconds: training time at the given speed, or None without one.
    """

    device: str
    precision: str
    parameters: ParameterCount
    length: Length
    text: Text
    memory: Memory
    flops_per_token: float
    checkpoint: int
    kept: int
    disk: int
    seconds: float | None

    @property
    def tokens(self) -> int | None:
        """Targets of the whole run, or None if its length is not known."""
        steps = self.length.total_steps
        return None if steps is None else steps * self.length.tokens_per_step

    @property
    def flops(self) -> float | None:
        """Floating-point operations of training, without evaluations."""
        return None if self.tokens is None else self.tokens * self.flops_per_token

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as JSON-ready values; sizes in bytes, time in seconds."""
        shown = asdict(self)
        del shown["length"]
        return shown | {
            "parameters": {**shown["parameters"], "total": self.parameters.total},
            "memory": self.memory.as_dict(),
            "steps": self.length.total_steps,
            "set_by": self.length.limit,
            "tokens_per_step": self.length.tokens_per_step,
            "tokens": self.tokens,
            "epochs": self.length.epochs,
            "flops": self.flops,
        }


def fit_run(
    config: Config,
    *,
    num_rows: int,
    row_tokens: int,
    vocab_size: int,
    learned: bool,
    hardware: Hardware,
    own_model: bool = True,
) -> tuple[Length, list[str]]:
    """Fit the values that nobody chose to text, memory and each other; return the run's length and the changes.

    num_rows: rows of the training set, of row_tokens targets each. vocab_size: the tokenizer's; learned: it
    was learned from this text and may have fewer entries than were asked for. hardware: what the run computes
    on. own_model: the configuration describes the model, which was not passed as an object.

    Raises:
        ConfigError: a chosen value does not fit.
    """
    said = replaced(config) + (fit_model(config) if own_model else [])
    if own_model and (problem := export_problem(config.model)) is not None:
        said.append(f"model: saved for textmill alone (model_type {OWN_MODEL_TYPE}), because {problem}")
    said += fit_vocab(config, vocab_size, config.tokenizer.tokenizer if learned else "given")
    said += fit_batch(config, num_rows, hardware.processes)
    said += fit_rows(config, hardware) if own_model else []
    settings = config.training
    length = plan_length(
        rows_per_epoch=num_rows,
        rows_per_step=settings.batch_size * settings.gradient_accumulation_steps * hardware.processes,
        row_tokens=row_tokens,
        flops_per_token=flops_per_token(config.model) if own_model else None,
        **{name: getattr(settings, name) for name in LENGTHS},
    )
    if length.total_steps is not None:
        said += fit_warmup(config, length.total_steps)
    if own_model and length.epochs is not None:
        said += fit_dropout(config, length.epochs)
    return length, said


def plan_run(
    config: Config,
    text: Text,
    *,
    device: str,
    precision: str,
    world_size: int = 1,
    free: int | None = None,
    speed: float | None = None,
) -> tuple[Plan, list[str]]:
    """Return the plan of the run that `config` describes on `text`, and a sentence per value changed to fit.

    config: with its preset applied; values that nobody chose are changed to fit, as training does. device: cpu, cuda or
    mps. precision: fp32, bf16 or fp16. free: bytes that each process can have, if known. speed: tokens per second of
    all processes together, to compute the time.

    Raises:
        ConfigError: values contradict each other, or do not fit the text.
    """
    if all(getattr(config.training, name) is None for name in LENGTHS):
        raise ConfigError(f"the run has no length: give one of {', '.join(LENGTHS)}, or a preset")
    if text.train_tokens < 2:
        raise ConfigError(f"the text has {text.train_tokens} tokens, and a row needs two")
    settings, model = config.training, config.model
    length, said = fit_run(
        config,
        num_rows=text.rows or math.ceil((text.train_tokens - 1) / model.max_seq_len),
        row_tokens=text.row_tokens or model.max_seq_len,
        vocab_size=text.vocab_size,
        learned=text.learned,
        hardware=Hardware(device, precision, world_size, free),
        own_model=settings.model is None,
    )
    if length.total_steps is None and speed is not None and settings.max_time is not None:
        length = length.planned(int(settings.max_time * speed / length.tokens_per_step))
        said += fit_warmup(config, length.total_steps or 1)
    parameters = count_parameters(model)
    checkpoint = 4 * parameters.total + optimizer_bytes(model, settings.optimizer, momentum=settings.momentum)
    step = StepSettings.of(config, precision=precision, device=device, processes=world_size)
    rows = step.validation_rows or evaluation_rows(model, step.batch_size, text.vocab_size)
    validation_rows = max(1, -(-text.validation_tokens // model.max_seq_len))
    kept = max(settings.save_total_limit or KEPT, kept_epochs(settings.save_total_limit, length, parameters.total))
    seconds = None
    if speed is not None and length.total_steps is not None:
        seconds = length.total_steps * length.tokens_per_step / speed
        seconds = min(seconds, settings.max_time) if settings.max_time is not None else seconds
    plan = Plan(
        device=device,
        precision=precision,
        parameters=parameters,
        length=length,
        text=text,
        memory=estimate_memory(model, replace(step, validation_rows=min(rows, validation_rows))),
        flops_per_token=flops_per_token(model),
        checkpoint=checkpoint,
        kept=kept,
        disk=(kept + EXTRA_CHECKPOINTS) * checkpoint,
        seconds=seconds,
    )
    return plan, said


def tokens_of_bytes(num_bytes: int, tokenizer: str, vocab_size: int, bytes_per_character: float = 1.0) -> int:
    """Return the approximate number of tokens in `num_bytes` of text, from the kind and size of the tokenizer.

    A byte token is one byte, a character token `bytes_per_character`. In English prose and Python code a BPE token is
    about 0.38 log2(V) - 1.2 bytes for V between 512 and 50,000, within 15 % (docs/plan.md has the figures).
    """
    if tokenizer in ("char", "byte"):
        return int(num_bytes / bytes_per_character) if tokenizer == "char" else num_bytes
    return int(num_bytes / max(1.0, 0.38 * math.log2(vocab_size) - 1.2))
