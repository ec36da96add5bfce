"""The section `training`: length, batch, optimizer, hardware, and what is written during the run."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from textmill.config.field_types import (
    MOST_THREADS,
    Fields,
    MaybeCount,
    MaybeNumber,
    MaybePlace,
    MaybeSeconds,
    MaybeText,
    MaybeWhole,
    Number,
    Switch,
    Text,
    Whole,
    closest,
    import_string,
    import_strings,
    one_of,
    or_none,
    place,
    show,
    switch,
    text,
    whole,
)

Optimizer = Literal["adamw", "adam", "sgd", "muon"]
Schedule = Literal["cosine", "linear", "constant", "wsd", "step", "exponential", "polynomial"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
EngineName = Literal["auto", "single", "ddp", "fsdp", "deepspeed"]
Backend = Literal["auto", "nccl", "gloo"]

PRECISION_NAMES = {
    "float32": "fp32",
    "float": "fp32",
    "32": "fp32",
    "no": "fp32",
    "bfloat16": "bf16",
    "float16": "fp16",
    "half": "fp16",
    "16": "fp16",
}


def _optimizer(value: Any) -> str:
    """Return the name of an optimizer or `package.module:attribute`."""
    return import_string(value) if isinstance(value, str) and ":" in value else one_of(Optimizer)(value)


def _device(value: Any) -> str:
    word = text(value).strip().lower()
    if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]+)?|gpu", word):
        raise ValueError(f"must be auto, cpu, cuda, cuda:N or mps, not {show(value)}{closest(word, ['cuda', 'cpu'])}")
    return "cuda" if word == "gpu" else word


def _interval(least: int) -> Any:
    """Return a validator for a number of steps, "epoch" or None."""

    def validate(value: Any) -> int | str:
        if isinstance(value, str) and value.strip().lower() in {"epoch", "epochs"}:
            return "epoch"
        try:
            steps = whole(value)
        except ValueError:
            raise ValueError(f"must be a number of steps or 'epoch', not {show(value)}") from None
        if steps < least:
            raise ValueError(f"must be at least {least}, not {show(value)}")
        return steps

    return or_none(validate)


def _resume(value: Any) -> bool | str:
    return "auto" if isinstance(value, str) and value.strip().lower() == "auto" else switch(value)


def _deepspeed_config(value: Any) -> str | dict[str, Any] | None:
    if isinstance(value, Mapping):
        return dict(value)
    return None if value is None else place(value)


Interval = Annotated[int | Literal["epoch"] | None, BeforeValidator(_interval(1))]
SampleInterval = Annotated[int | Literal["epoch"] | None, BeforeValidator(_interval(0))]


class TrainingFields(Fields):
    """The run: length, batch, optimizer, hardware, and when to evaluate, save and show."""

    preset: Text = "auto"
    """Named set of values below the ones given; auto chooses by machine and size of the data."""
    # how long
    epochs: MaybeNumber = Field(default=None, gt=0)
    """Passes over the data; a fraction is allowed."""
    max_steps: MaybeCount = Field(default=None, ge=1)
    """Optimizer steps."""
    max_tokens: MaybeCount = Field(default=None, ge=1)
    """Tokens to train on, such as 500k or 2.5B."""
    max_time: MaybeSeconds = Field(default=None, gt=0)
    """Time to train for: seconds, or 10m, 2h."""
    early_stopping_patience: Whole = Field(default=0, ge=0)
    """Stop after so many evaluations without a better validation loss; 0 never does."""
    early_stopping_min_delta: Number = Field(default=0.0, ge=0)
    """A loss is better only if it is lower by more than this, in nats per token."""
    # batch
    batch_size: Whole = Field(default=16, ge=1)
    """Rows per device and micro-batch."""
    gradient_accumulation_steps: Whole = Field(default=1, ge=1)
    """Micro-batches per optimizer step."""
    # optimizer
    optimizer: Annotated[str, BeforeValidator(_optimizer)] = "adamw"
    """adamw, adam, sgd, muon, or package.module:attribute."""
    learning_rate: Number = Field(default=3e-4, gt=0)
    """Learning rate at its peak."""
    min_lr_ratio: Number = Field(default=0.1, ge=0, le=1)
    """Learning rate at the end, as a share of the peak."""
    min_learning_rate: MaybeNumber = Field(default=None, ge=0)
    """Learning rate at the end, instead of min_lr_ratio."""
    lr_schedule: Annotated[
        Schedule,
        BeforeValidator(one_of(Schedule, warmup_cosine="cosine", cosine_annealing="cosine", exp="exponential")),
    ] = "cosine"
    """Course of the learning rate after the warm-up."""
    warmup_steps: MaybeWhole = Field(default=None, ge=0)
    """Steps over which the learning rate rises. Unset: warmup_ratio of the run."""
    warmup_ratio: Number = Field(default=0.05, ge=0, lt=1)
    """Share of the run over which the learning rate rises."""
    decay_steps: MaybeWhole = Field(default=None, ge=1)
    """Step at which the schedule reaches its floor; for wsd the length of the decay. Unset: from the run's length."""
    lr_decay: Number = Field(default=0.1, gt=0, le=1)
    """Factor of the step schedule."""
    lr_decay_every: MaybeWhole = Field(default=None, ge=1)
    """Steps between two decays of the step schedule."""
    weight_decay: Number = Field(default=0.1, ge=0)
    """Decay of the weight matrices, not of biases and norms."""
    beta1: Number = Field(default=0.9, ge=0, lt=1)
    """Adam's decay of the mean gradient."""
    beta2: Number = Field(default=0.95, ge=0, lt=1)
    """Adam's decay of the mean squared gradient."""
    eps: Number = Field(default=1e-8, gt=0)
    """Adam's term against division by zero."""
    momentum: MaybeNumber = Field(default=None, ge=0, lt=1)
    """Momentum of sgd (unset: 0.9) and muon (unset: 0.95)."""
    max_grad_norm: Number = Field(default=1.0, ge=0)
    """Longer gradients are scaled to this norm; 0 turns it off."""
    label_smoothing: Number = Field(default=0.0, ge=0, lt=1)
    """Share of the target spread over the whole vocabulary."""
    # machine
    precision: Annotated[Precision, BeforeValidator(one_of(Precision, **PRECISION_NAMES))] = "auto"
    """Number format of the forward pass; weights stay fp32. auto is bf16 where it is fast."""
    compile: Switch = False
    """Compile the model with torch.compile: slower to start, faster steps on a GPU."""
    device: Annotated[str, BeforeValidator(_device)] = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    engine: Annotated[EngineName, BeforeValidator(one_of(EngineName))] = "auto"
    """How a step is spread over devices: auto is single alone and ddp under torchrun."""
    distributed_backend: Annotated[Backend, BeforeValidator(one_of(Backend))] = "auto"
    """How processes talk: nccl on GPUs, gloo on CPUs."""
    world_size: MaybeWhole = Field(default=None, ge=1)
    """Number of processes, to be checked against the launcher's."""
    deepspeed_config: Annotated[str | dict[str, Any] | None, BeforeValidator(_deepspeed_config)] = None
    """DeepSpeed's own JSON file; setting it chooses that engine."""
    threads: MaybeWhole = Field(default=None, ge=1, le=MOST_THREADS)
    """CPU threads. Unset: one per core."""
    seed: Whole = Field(default=42, ge=0, lt=2**63)
    """Start of all randomness: equal seeds give equal runs."""
    # evaluating, saving, showing
    logging_steps: Whole = Field(default=10, ge=1)
    """Steps between two lines of progress."""
    eval_steps: Interval = None
    """Steps between evaluations, or epoch. Unset: every epoch, or about 20 times."""
    eval_batches: MaybeWhole = Field(default=None, ge=1)
    """Batches per evaluation. Unset: the whole validation set."""
    eval_batch_size: MaybeWhole = Field(default=None, ge=1)
    """Rows per evaluation batch. Unset: chosen from the shape; the result does not depend on it."""
    metrics: Annotated[list[str], BeforeValidator(import_strings)] = Field(default_factory=list)
    """Further metrics, each package.module:attribute."""
    save_steps: Interval = None
    """Steps between checkpoints, or epoch. Unset: every epoch, or about 20 times."""
    save_total_limit: Whole = Field(default=3, ge=1)
    """Checkpoints to keep, besides the best and the final model."""
    sample_steps: SampleInterval = None
    """Steps between generated samples, or epoch; 0 for none on the way. Unset: with every evaluation."""
    sample_prompt: MaybeText = None
    """Text that samples go on from; the trained model answers it at the end."""
    sample_tokens: Whole = Field(default=64, ge=1)
    """Length of a sample in tokens."""
    sample_temperature: Number = Field(default=0.8, ge=0)
    """Randomness of samples; 0 takes the likeliest token."""
    sample_top_p: MaybeNumber = Field(default=None, gt=0, le=1)
    """Samples choose among the likeliest tokens that hold this share of the probability."""
    # the run's folder
    output_dir: MaybePlace = None
    """Folder of the run. Unset: runs/RUN_NAME or the next runs/experiment_N."""
    overwrite: Switch = False
    """Delete the run that is in the output folder."""
    resume: Annotated[bool | Literal["auto"], BeforeValidator(_resume)] = False
    """Go on from the newest checkpoint; auto also accepts an empty output folder."""
    resume_from: MaybePlace = None
    """Go on from this checkpoint: a path, best, last, step-500, epoch-3."""
    init_from: MaybePlace = None
    """Start from the weights of this model folder."""
