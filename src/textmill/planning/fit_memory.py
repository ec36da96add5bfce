"""Fit a run to the memory of its device: fewer rows at a time, and more of them accumulated; else a smaller model.

The rows of an optimizer step stay the same, and so does what is learned. What fits is not changed. Training, its dry
run, `plan` and `config show` call the same functions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from textmill.config import Config
from textmill.config.consistency import ROWS_OF_A_STEP
from textmill.config.presets import apply_auto_preset
from textmill.console.number_format import plural, size
from textmill.planning.memory import StepSettings, estimate_memory

USABLE = 0.9
"""Share of the free memory that a run is planned to take at most: allocators waste some, and other programs grow."""

_VOCABULARIES = {"char": 257, "byte": 257}
_LARGE_VOCABULARY = 50_257
"""Entries of tokenizers that have not been read: of bytes and characters, and of all others."""


@dataclass(frozen=True)
class Hardware:
    """What a run computes on, as far as its memory depends on it.

    device: cpu, cuda or mps. precision: fp32, bf16 or fp16. free: bytes that each process can have, as
    `machine.device_memory.memory_for_run` counts them, or None if that is not known.
    """

    device: str
    precision: str
    processes: int = 1
    free: int | None = None

    def needed(self, config: Config, rows: int) -> int:
        """Return the bytes that a step of each process needs at most, with `rows` rows at a time."""
        model = config.model.clone()
        model.derive("vocab_size", _VOCABULARIES.get(config.tokenizer.tokenizer, _LARGE_VOCABULARY))
        step = StepSettings.of(config, precision=self.precision, device=self.device, processes=self.processes)
        accumulation = -(-step.batch_size * step.accumulation // rows)
        return estimate_memory(model, replace(step, batch_size=rows, accumulation=accumulation)).total

    def too_small(self, needed: int) -> bool:
        return self.free is not None and needed > USABLE * self.free


def settle_auto_preset(config: Config, hardware: Hardware, corpus_bytes: int) -> str | None:
    """Set what nobody chose in `config` to what `auto` chooses for text and device; return the sentence to say, if any.

    That is the preset for the text, or the largest smaller one that fits the memory with a single row at a time (or the
    rows that somebody chose). If none fits, the text decides alone.
    """

    def shortage(tried: Config) -> str | None:
        rows = tried.training.batch_size if tried.given("batch_size") else 1
        needed = hardware.needed(tried, rows)
        if not hardware.too_small(needed):
            return None
        return f"needs {size(needed)} with {plural(rows, 'row')} at a time, and {size(hardware.free or 0)} are free"

    return apply_auto_preset(config, hardware.device, corpus_bytes, None if hardware.free is None else shortage)


def fit_rows(config: Config, hardware: Hardware) -> list[str]:
    """Divide a micro-batch that does not fit the memory into equal parts that do; return the sentence about it.

    Its size becomes the largest divisor that fits, else 1. Does nothing where somebody chose rows or accumulation, and
    under DeepSpeed, whose memory is not estimated.
    """
    training = config.training
    rows, accumulation = training.batch_size, training.gradient_accumulation_steps
    chosen = any(training.given(name) for name in ROWS_OF_A_STEP)
    if hardware.free is None or chosen or training.deepspeed_config is not None or training.engine == "deepspeed":
        return []
    parts = (part for part in range(rows, 0, -1) if rows % part == 0)
    fewer = next((part for part in parts if not hardware.too_small(hardware.needed(config, part))), 1)
    if fewer == rows:
        return []
    needed, more = hardware.needed(config, rows), rows // fewer * accumulation
    training.derive("batch_size", fewer, force=True)
    training.derive("gradient_accumulation_steps", more, force=True)
    return [
        f"batch_size: {fewer} instead of {rows}, accumulated {more} instead of {accumulation} times, because "
        f"{plural(rows, 'row')} at a time need {size(needed)} of memory, and {size(hardware.free)} are free"
    ]
