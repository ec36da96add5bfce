"""Out of memory: what needs most of it, and the settings that need less."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from textmill.config import Config
from textmill.console.number_format import size
from textmill.errors import OutOfMemoryError, TextmillError
from textmill.machine.memory import NO_THREADS, is_out_of_memory, is_out_of_threads
from textmill.machine.precision import choose_precision
from textmill.planning.memory import StepSettings, estimate_memory

_PARTS: tuple[str, ...] = ("logits", "activations", "optimizer", "weights", "gradients", "evaluation")
"""The fields of `planning.memory.Memory` that settings can make smaller."""


@contextmanager
def memory_explained(config: Config, device: torch.device, processes: int) -> Iterator[None]:
    """Raise out-of-memory errors of the block as OutOfMemoryError with advice; pass other errors on."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if is_out_of_threads(error):
            raise OutOfMemoryError(NO_THREADS) from error
        if isinstance(error, TextmillError) or not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(explain(config, device, processes)) from error


def explain(config: Config, device: torch.device, processes: int) -> str:
    """Return one line: the estimated largest parts of what a step needs, and settings that make them smaller."""
    precision = choose_precision(config.training.precision, device).name
    step = StepSettings.of(config, precision=precision, device=device.type, processes=processes)
    needed = estimate_memory(config.model, step)
    largest = sorted(_PARTS, key=lambda name: -getattr(needed, name))[:3]
    parts = ", ".join(f"{name} {size(getattr(needed, name))}" for name in largest)
    where = f" on {device}" if device.type == "cuda" else ""
    return (
        f"out of memory{where}: this run needs about {size(needed.total)}, most of it for {parts}. "
        f"Use {' or '.join(_remedies(config, largest))}"
    )


def _remedies(config: Config, largest: list[str]) -> list[str]:
    """Return settings that shrink the largest parts, those that change no result first."""
    training, model = config.training, config.model
    found = []
    if {"logits", "activations"} & set(largest):
        if training.batch_size > 1:
            rows, accumulation = training.batch_size // 2, 2 * training.gradient_accumulation_steps
            found.append(f"--batch-size {rows} --gradient-accumulation-steps {accumulation} (learns the same)")
        if "activations" in largest and not model.gradient_checkpointing:
            found.append("--gradient-checkpointing (slower)")
        found.append(f"--max-seq-len {max(1, model.max_seq_len // 2)}")
    if "evaluation" in largest:
        found.append(f"--eval-batch-size {max(1, training.batch_size // 2)}")
    if {"optimizer", "weights", "gradients"} & set(largest):
        found.append("a smaller --d-model, --num-layers or --vocab-size")
    return found
