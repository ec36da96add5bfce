"""Rules across settings. `check` refuses contradictions; the `fit_` functions adapt values that nobody chose.

A given value that does not fit is refused; one from a default or a preset is changed to fit. Two given values are
changed too, because guides give them without knowing the data: the warm-up steps and the vocabulary size of a BPE
tokenizer. The `fit_` functions change the Config that they get and return one sentence per change.
"""

from collections.abc import Mapping
from typing import Any

from textmill.config.aliases import RIVALS
from textmill.config.model_shape import resolve_shape
from textmill.config.presets import preset_values
from textmill.config.related_settings import INSTEAD
from textmill.config.run_config import Config
from textmill.config.tokenizer_kinds import WITH_VOCAB_SIZE
from textmill.errors import ConfigError

EXCLUSIVE = (
    *RIVALS,
    ("overwrite", "resume"),
    ("overwrite", "resume_from"),
)
"""Pairs of settings of which only one can be given."""


ONCE_AND_AGAIN = 2
"""Epochs up to which a model learns more without dropout."""

ROWS_OF_A_STEP = ("batch_size", "gradient_accumulation_steps")
"""Settings whose product with the number of processes is the rows of an optimizer step."""


def check(config: Config) -> None:
    """Raise ConfigError if given values contradict each other; it names them and what is valid."""
    if config.training.init_from is None:  # else the shape is that of the model in the folder
        resolve_shape(config.model)
    for names in EXCLUSIVE:
        if all(_is_chosen(config, name) for name in names):
            both = " and ".join(config.section(name).described(name) for name in names)
            raise ConfigError(f"{both} exclude each other: give only one of them")
    training = config.training
    floor = training.min_learning_rate
    if floor is not None and floor > training.learning_rate:
        raise ConfigError(f"{training.described('min_learning_rate')} is above {training.described('learning_rate')}")
    if training.layer_statistics and (training.engine == "deepspeed" or training.deepspeed_config is not None):
        raise ConfigError("layer_statistics needs gradients, which engine deepspeed keeps to itself: use ddp or fsdp")
    if training.engine not in {"auto", "deepspeed"} and training.deepspeed_config is not None:
        raise ConfigError(f"deepspeed_config needs engine deepspeed, not {training.described('engine')}")
    if training.distributed_backend == "nccl" and training.device == "cpu":
        raise ConfigError("distributed_backend nccl needs GPUs, and device is cpu: use gloo")
    if training.early_stopping_patience and not validates(config):
        raise ConfigError("early_stopping_patience needs a validation set: give val_data or a val_split above 0")


def _is_chosen(config: Config, name: str) -> bool:
    """Return whether a setting has a given value other than its default: a dump gives every setting."""
    section = config.section(name)
    return section.given(name) and getattr(section, name) != type(section).model_fields[name].default


def validates(config: Config) -> bool:
    """Return whether the run has a validation set."""
    data = config.data
    return bool(data.val_split or data.val_data or (data.dataset_name and data.validation_split))


def fit_model(config: Config) -> list[str]:
    """Fit num_heads to d_model and set the architecture. Raises ConfigError if a given number does not fit."""
    resolved, said = resolve_shape(config.model)
    config.model.derive("architecture", resolved.architecture)
    if config.model.num_heads != resolved.num_heads:
        config.model.derive("num_heads", resolved.num_heads, force=True)
    return said


def free_vocab(config: Config, *, made: bool) -> None:
    """Unset a vocab_size that nobody gave, which is meant for a vocabulary to learn, if there will be none.

    made: whether the data is token ids already, given as such or as a prepared corpus.
    """
    if not config.model.given("vocab_size") and (made or config.tokenizer.tokenizer not in WITH_VOCAB_SIZE):
        config.model.derive("vocab_size", None, force=True)


def fit_vocab(config: Config, tokenizer_size: int, kind: str) -> list[str]:
    """Set vocab_size so that it covers the tokenizer's ids; return what to say.

    A larger one is kept, unless a tokenizer that learns so many (`kind`) found fewer. Raises
    ConfigError if a given vocab_size is smaller than the tokenizer.
    """
    wanted = config.model.vocab_size
    if wanted is None or wanted == tokenizer_size or not config.model.given("vocab_size"):
        shrunk = wanted is not None and wanted > tokenizer_size and kind in WITH_VOCAB_SIZE
        config.model.derive("vocab_size", tokenizer_size, force=wanted not in (None, tokenizer_size))
        return [fewer_pieces(tokenizer_size, wanted, kind)] if shrunk else []
    if wanted < tokenizer_size:
        raise ConfigError(f"vocab_size {wanted} is less than the tokenizer's {tokenizer_size}: leave it out")
    if kind in WITH_VOCAB_SIZE:
        config.model.derive("vocab_size", tokenizer_size, force=True)
        return [fewer_pieces(tokenizer_size, wanted, kind)]
    return [f"vocab_size: {wanted}; the tokenizer uses {tokenizer_size} of them"]


def fewer_pieces(found: int, wanted: Any, kind: str) -> str:
    """Return the sentence about a vocabulary that is smaller than requested, for the `kind` of tokenizer."""
    lacking = "pieces that are frequent enough" if kind == "unigram" else "pairs to merge"
    return f"vocab_size: {found} instead of {wanted}, because the text has no more {lacking}"


def share_batch(config: Config, world_size: int) -> list[str]:
    """Divide the batch of a preset among the processes: it is for all of them, unlike one that somebody chose.

    The rows of a step stay the preset's, or as many fewer as do not divide evenly.
    """
    training = config.training
    batch, accumulation = training.batch_size, training.gradient_accumulation_steps
    of_preset = [name for name in ROWS_OF_A_STEP if training.origin(name).startswith("preset ")]
    if world_size == 1 or not of_preset:
        return []
    share = max(1, batch * accumulation // world_size)
    values = {"batch_size": batch, "gradient_accumulation_steps": accumulation}
    if not training.given("gradient_accumulation_steps"):
        values["gradient_accumulation_steps"] = -(-share // batch)
    if not training.given("batch_size"):
        values["batch_size"] = max(1, share // values["gradient_accumulation_steps"])
    return _reduce(config, values, f"{world_size} processes share the preset's {batch * accumulation} rows of a step")


def fit_batch(config: Config, num_rows: int, world_size: int = 1) -> list[str]:
    """Fit the rows of an optimizer step to the rows of the training set.

    A batch nobody chose is reduced, accumulation first. Raises ConfigError if the given values are too large.
    """
    said = share_batch(config, world_size)
    training = config.training
    batch, accumulation = training.batch_size, training.gradient_accumulation_steps
    room = max(1, num_rows // world_size)
    if not training.given("gradient_accumulation_steps"):
        accumulation = max(1, min(accumulation, room // batch))
    if not training.given("batch_size"):
        batch = max(1, min(batch, room // accumulation))
    rows = batch * accumulation * world_size
    if rows > num_rows and rows > 1:
        raise ConfigError(
            f"batch_size {batch} x gradient_accumulation_steps {accumulation} x {world_size} processes takes {rows} "
            f"rows per step, and the training text has {num_rows}: lower batch_size or max_seq_len, or give more text"
        )
    values = {"batch_size": batch, "gradient_accumulation_steps": accumulation}
    return said + _reduce(config, values, f"the training text has {num_rows} row{'s' if num_rows > 1 else ''}")


def _reduce(config: Config, values: Mapping[str, int], reason: str) -> list[str]:
    """Set values of the section training that differ; return a sentence about each."""
    changed = {name: getattr(config.training, name) for name, value in values.items()}
    changed = {name: before for name, before in changed.items() if before != values[name]}
    for name in changed:
        config.training.derive(name, values[name], force=True)
    return [f"{name}: {values[name]} instead of {before}, because {reason}" for name, before in changed.items()]


def fit_warmup(config: Config, total_steps: int) -> list[str]:
    """Shorten a warm-up that is as long as the run, whoever chose it."""
    before = config.training.warmup_steps
    if before is None or before == 0 or before < total_steps:
        return []
    after = max(0, total_steps // 10)
    config.training.derive("warmup_steps", after, force=True)
    return [f"warmup_steps: {after} instead of {before}, because the run has {total_steps} steps"]


def fit_dropout(config: Config, epochs: float, *, estimated: bool = False) -> list[str]:
    """Lower a dropout that `auto` chose for the epochs of its preset to what fits a run of fewer `epochs`.

    Dropout helps against text that is read again and again, and slows the learning of text that is new: it grows from
    none at ONCE_AND_AGAIN epochs to the preset's at the preset's number of epochs (docs/decisions.md).
    """
    kind, _, preset = config.model.origin("dropout").partition(" ")
    if kind != "preset" or not preset.startswith("auto-"):
        return []
    before, usual = config.model.dropout, preset_values(preset).get("epochs", 1)
    share = (epochs - ONCE_AND_AGAIN) / max(1, usual - ONCE_AND_AGAIN)
    after = round(before * min(1.0, max(0.0, share)), 2)
    if after == before:
        return []
    config.model.derive("dropout", after, force=True)
    read = f"about {epochs:.2g}" if estimated else f"{epochs:.3g}"
    return [f"dropout: {after:g} instead of {before:g}, because the text is read {read} times, not {usual} times"]


def replaced(config: Config) -> list[str]:
    """Return a sentence for an optimizer or a learning rate that was replaced because the other one was given alone."""
    training = config.training
    cause, _, before = training.origin("optimizer").partition(INSTEAD)
    if before:
        return [
            f"optimizer: {training.optimizer} instead of {before}, because a learning rate given alone ({cause}) is "
            f"AdamW's; add --optimizer {before} for {before} with this rate"
        ]
    cause, _, before = training.origin("learning_rate").partition(INSTEAD)
    if before:
        return [
            f"learning_rate: {training.learning_rate} instead of {before}, which was for another optimizer than "
            f"{training.optimizer} ({cause}); --learning-rate sets it"
        ]
    return []


def without_effect(config: Config) -> list[str]:
    """Return a sentence for every given setting that has no effect in this configuration."""
    training, data, model = config.training, config.data, config.model
    adam = training.optimizer in {"adamw", "adam", "muon"} or ":" in training.optimizer
    architecture = resolve_shape(model)[0]
    decays = training.lr_schedule in {"step", "exponential"}
    idle: list[tuple[str, bool, str]] = [
        ("val_split split_by", data.val_data is not None, "val_data is given"),
        ("val_split split_by", data.dataset_name is not None, "the dataset has a split for validation"),
        ("dataset_config dataset_split validation_split", data.dataset_name is None, "no dataset_name is given"),
        ("packing_strategy mask_documents", not data.pack_sequences, "pack_sequences is false"),
        ("augmentation_prob", not data.augmentation, "no augmentation is chosen"),
        ("fim_format", not data.fim_rate, "fim_rate is 0"),
        ("rope_theta", architecture.pos_encoding != "rope", f"pos_encoding is {architecture.pos_encoding}"),
        ("momentum", training.optimizer not in {"sgd", "muon"}, f"optimizer is {training.optimizer}"),
        ("beta1 beta2 eps", not adam, f"optimizer is {training.optimizer}"),
        ("lr_decay lr_decay_every", not decays, f"lr_schedule is {training.lr_schedule}"),
        ("early_stopping_min_delta", training.early_stopping_patience == 0, "early_stopping_patience is 0"),
        ("eval_steps eval_batches eval_batch_size", not validates(config), "there is no validation set"),
        ("log_dir", "tensorboard" not in config.tracking.report_to, "report_to has no tensorboard"),
        ("wandb_project", "wandb" not in config.tracking.report_to, "report_to has no wandb"),
        (SAMPLING, training.sample_steps == 0 and not training.sample_prompt, "sample_steps is 0"),
    ]
    values = config.values()
    return [
        f"{name}: has no effect, because {reason}"
        for names, is_idle, reason in idle
        for name in names.split()
        if is_idle and _is_chosen(config, name) and values[name] not in (None, False)
    ]


SAMPLING = "sample_prompt sample_tokens sample_temperature sample_top_p"
