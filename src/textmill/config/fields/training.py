"""The sections `training` and `tracking`: length, batch, optimizer, hardware, what is written, and where metrics go."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from textmill.config.field_types import (
    MOST_THREADS,
    Fields,
    MaybeCount,
    MaybeName,
    MaybeNumber,
    MaybePath,
    MaybeSeconds,
    MaybeText,
    MaybeWhole,
    Number,
    Seconds,
    Switch,
    Text,
    Whole,
    closest,
    comma_separated,
    import_string,
    import_strings,
    one_of,
    or_none,
    path,
    show,
    switch,
    text,
    whole,
)

OptimizerName = Literal["adamw", "adam", "sgd", "muon"]
ScheduleName = Literal["cosine", "linear", "constant", "wsd", "step", "exponential", "polynomial"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
EngineName = Literal["auto", "single", "ddp", "fsdp", "deepspeed"]
Backend = Literal["auto", "nccl", "gloo"]
OnSpike = Literal["ignore", "warn", "rollback"]
Reporter = Literal["tensorboard", "wandb", "mlflow"]

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
    return import_string(value) if isinstance(value, str) and ":" in value else one_of(OptimizerName)(value)


def _builder(value: Any) -> str:
    try:
        return import_string(value)
    except ValueError as error:  # in a file, `model` is usually a section
        raise ValueError(f"{error}; settings of the shape go below it, such as architecture or d_model") from None


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


def _switch_or_auto(value: Any) -> bool | str:
    return "auto" if isinstance(value, str) and value.strip().lower() == "auto" else switch(value)


def _deepspeed_config(value: Any) -> str | dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else path(value)


MaybeImport = Annotated[str | None, BeforeValidator(or_none(import_string))]
MaybeBuilder = Annotated[str | None, BeforeValidator(or_none(_builder))]
Interval = Annotated[int | Literal["epoch"] | None, BeforeValidator(_interval(1))]
SampleInterval = Annotated[int | Literal["epoch"] | None, BeforeValidator(_interval(0))]


MOST_EPOCHS = 1e9
"""More than a run of a thousand years takes."""


class TrainingFields(Fields):
    """The run: length, batch, optimizer, hardware, and when to evaluate, save and sample."""

    preset: Text = "auto"
    """Named set of defaults; auto chooses one by machine and size of the text."""
    # length
    epochs: MaybeNumber = Field(default=None, gt=0, le=MOST_EPOCHS)
    """Passes over the training data; may be fractional."""
    max_steps: MaybeCount = Field(default=None, ge=1)
    """Number of optimizer steps."""
    max_tokens: MaybeCount = Field(default=None, ge=1)
    """Number of tokens to train on, such as 500k or 2.5B."""
    max_flops: MaybeNumber = Field(default=None, gt=0)
    """Floating-point operations to train with, such as 1e15; those of matrix products are counted."""
    max_time: MaybeSeconds = Field(default=None, gt=0)
    """Training time in seconds, or such as 10m, 2h."""
    early_stopping_patience: Whole = Field(default=0, ge=0)
    """Stop after this many evaluations without a lower validation loss; 0 disables early stopping."""
    early_stopping_min_delta: Number = Field(default=0.0, ge=0)
    """Smallest decrease of the validation loss that counts, in nats per token."""
    # batch
    batch_size: Whole = Field(default=16, ge=1)
    """Rows per device and micro-batch."""
    gradient_accumulation_steps: Whole = Field(default=1, ge=1)
    """Micro-batches per optimizer step."""
    # optimizer
    optimizer: Annotated[str, BeforeValidator(_optimizer)] = "adamw"
    """adamw, adam, sgd, muon, or package.module:attribute."""
    learning_rate: Number = Field(default=3e-4, gt=0)
    """Peak learning rate."""
    min_lr_ratio: Number = Field(default=0.1, ge=0, le=1)
    """Final learning rate as a fraction of the peak."""
    min_learning_rate: MaybeNumber = Field(default=None, ge=0)
    """Final learning rate, instead of min_lr_ratio."""
    lr_schedule: Annotated[
        ScheduleName,
        BeforeValidator(one_of(ScheduleName, warmup_cosine="cosine", cosine_annealing="cosine", exp="exponential")),
    ] = "cosine"
    """Shape of the learning rate schedule after warm-up."""
    warmup_steps: MaybeWhole = Field(default=None, ge=0)
    """Steps of linear warm-up. Unset: warmup_ratio of the run."""
    warmup_ratio: Number = Field(default=0.05, ge=0, lt=1)
    """Share of the run that is warm-up."""
    decay_steps: MaybeWhole = Field(default=None, ge=1)
    """Step at which the schedule reaches its final value; for wsd the length of the decay. Unset: by run length."""
    lr_decay: Number = Field(default=0.1, gt=0, le=1)
    """Factor of the step and exponential schedules."""
    lr_decay_every: MaybeWhole = Field(default=None, ge=1)
    """Steps between decays by lr_decay. Unset: a third of the run."""
    weight_decay: Number = Field(default=0.1, ge=0)
    """Weight decay of the matrices; embeddings, biases and norms are not decayed."""
    beta1: Number = Field(default=0.9, ge=0, lt=1)
    """Decay rate of Adam's first moment."""
    beta2: Number = Field(default=0.95, ge=0, lt=1)
    """Decay rate of Adam's second moment."""
    eps: Number = Field(default=1e-8, gt=0)
    """Epsilon of Adam."""
    momentum: MaybeNumber = Field(default=None, ge=0, lt=1)
    """Momentum of sgd and muon (unset: 0.9)."""
    loss: MaybeImport = None
    """Loss of your own, package.module:attribute. Unset: cross-entropy of the next token."""
    max_grad_norm: Number = Field(default=1.0, ge=0)
    """Clip gradients to this norm; 0 disables clipping."""
    on_spike: Annotated[OnSpike, BeforeValidator(one_of(OnSpike))] = "warn"
    """What follows a loss spike: ignore (it is counted), warn, or rollback to the last checkpoint before it."""
    label_smoothing: Number = Field(default=0.0, ge=0, lt=1)
    """Label smoothing: the share of the target given to the whole vocabulary."""
    model: MaybeBuilder = None
    """Model of your own, package.module:attribute, called with the shape. Unset: the family of the architecture."""
    # machine
    precision: Annotated[Precision, BeforeValidator(one_of(Precision, **PRECISION_NAMES))] = "auto"
    """Number format of the forward pass; weights stay fp32. auto is bf16 where it is measured to be faster."""
    compile: Annotated[bool | Literal["auto"], BeforeValidator(_switch_or_auto)] = "auto"
    """Compile the model with torch.compile; auto does it on an NVIDIA GPU if the run is long enough to repay it."""
    deterministic: Switch = False
    """Use only kernels that repeat their results to the bit, and none that a trial at the start chose; slower."""
    device: Annotated[str, BeforeValidator(_device)] = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    engine: Annotated[EngineName, BeforeValidator(one_of(EngineName))] = "auto"
    """How a step is executed: auto is single for one process and ddp under torchrun."""
    distributed_backend: Annotated[Backend, BeforeValidator(one_of(Backend))] = "auto"
    """How processes communicate: nccl on GPUs, gloo on CPUs."""
    world_size: MaybeWhole = Field(default=None, ge=1)
    """Expected number of processes; an error if the launcher started another number."""
    rendezvous_timeout: Seconds = Field(default=120.0, gt=0)
    """Seconds that a process waits at the start for the others of the run, or such as 10m."""
    deepspeed_config: Annotated[str | dict[str, Any] | None, BeforeValidator(or_none(_deepspeed_config))] = None
    """DeepSpeed's JSON file; setting it selects the deepspeed engine."""
    threads: MaybeWhole = Field(default=None, ge=1, le=MOST_THREADS)
    """CPU threads. Unset: one per core."""
    seed: Whole = Field(default=42, ge=0, lt=2**63)
    """Random seed: equal seeds give equal runs."""
    data_seed: MaybeWhole = Field(default=None, ge=0, lt=2**63)
    """Seed of the order of the rows and of changes to their text. Unset: the seed."""
    # evaluation, checkpoints, samples
    logging_steps: Whole = Field(default=10, ge=1)
    """Steps between progress lines."""
    layer_statistics: Switch = False
    """Measure weights, gradients and outputs of each layer at every progress line, for steps.jsonl and trackers."""
    eval_steps: Interval = None
    """Steps between evaluations, or epoch. Unset: every epoch, or about 20 times."""
    eval_batches: MaybeWhole = Field(default=None, ge=1)
    """Batches per evaluation. Unset: the whole validation set."""
    eval_batch_size: MaybeWhole = Field(default=None, ge=1)
    """Rows per evaluation batch. Unset: chosen from the model's shape; the result does not depend on it."""
    metrics: Annotated[list[str], BeforeValidator(or_none(import_strings, list))] = Field(default_factory=list)
    """Additional metrics, each package.module:attribute."""
    save_steps: Interval = None
    """Steps between checkpoints, or epoch. Unset: every epoch, or about 20 times."""
    save_total_limit: MaybeWhole = Field(default=None, ge=1)
    """Number of checkpoints to keep, besides the best one. Unset: 3, or every epoch's while all take less than 1 GB."""
    sample_steps: SampleInterval = None
    """Steps between generated samples, or epoch; 0 for none during training. Unset: early, then as evaluations."""
    sample_prompt: MaybeText = None
    """Prompt for the samples; the trained model completes it at the end."""
    sample_tokens: Whole = Field(default=64, ge=1)
    """Length of a sample in tokens."""
    sample_temperature: Number = Field(default=0.8, ge=0)
    """Sampling temperature; 0 always takes the most likely token."""
    sample_top_p: MaybeNumber = Field(default=None, gt=0, le=1)
    """Sample from the most likely tokens that together have this probability."""
    # run folder
    output_dir: MaybePath = None
    """Run folder. Unset: runs/RUN_NAME or the next runs/experiment_N."""
    overwrite: Switch = False
    """Delete the existing run in the output folder."""
    resume: Annotated[bool | Literal["auto"], BeforeValidator(_switch_or_auto)] = False
    """Continue from the newest checkpoint; auto also accepts an empty output folder."""
    resume_from: MaybePath = None
    """Continue from this checkpoint: a path, best, last, step-500, epoch-3."""
    trust: Switch = False
    """Import the code, and write to the folders, that a run folder names: its config.yaml, its link `checkpoints`."""
    init_from: MaybePath = None
    """Start from the model in this folder: its weights, shape and tokenizer."""


class TrackingFields(Fields):
    """Where the metrics go."""

    report_to: Annotated[list[Reporter], BeforeValidator(comma_separated(one_of(Reporter)))] = Field(
        default_factory=list
    )
    """Trackers: tensorboard, wandb, mlflow."""
    log_dir: MaybePath = None
    """TensorBoard folder. Unset: logs in the run folder."""
    wandb_project: MaybeText = None
    """Weights & Biases project."""
    run_name: MaybeName = None
    """Name of the run, for trackers and for the run folder runs/NAME."""
