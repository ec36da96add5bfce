"""Whether a configuration may continue a run: what must not differ, and what is reported when it does."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from textmill.checkpoint.saved_settings import read_settings
from textmill.config import Config, load_config
from textmill.config.model_shape import SHAPE
from textmill.config.run_config import LENGTHS, NOT_DUMPED
from textmill.data.sources.foreign_settings import refuse_foreign_settings, settle_cache_dir
from textmill.engine.deepspeed_json import read_deepspeed
from textmill.errors import ResumeError
from textmill.runs.read_run import read_environment

FORBIDDEN = {
    *SHAPE,
    *("seed", "optimizer", "momentum", "tokenizer", "eos_token", "special_tokens", "split_pattern", "normalize"),
    *("extend_vocab", "model", "data_seed"),
    *("init_from", "pack_sequences", "packing_strategy", "mask_documents", "augmentation", "augmentation_prob"),
    *("fim_rate", "fim_format"),
    *("min_length", "val_split", "encoding_errors", "text_column", "format", "encoding", "document_separator"),
    "split_by",
    "newlines",
}
"""Settings that would make it another run. The data is compared by its fingerprint."""

BATCH = ("batch_size", "gradient_accumulation_steps")
"""May change as long as the global batch, their product with the number of processes, is the same."""

FREE = {
    *LENGTHS,
    *NOT_DUMPED,
    *(
        "preset",
        "data",
        "val_data",
        "include",
        "exclude",
        "gitignore",
        "cache_dir",
        "num_workers",
        "preprocessing_num_workers",
    ),
    *("source_code", "keep_files", "max_file_size", "max_line_length", "max_non_text"),
    *("dataset_name", "dataset_config", "dataset_split", "validation_split", "max_unknown"),
    *("logging_steps", "layer_statistics", "eval_steps", "save_steps", "sample_steps", "save_total_limit", "metrics"),
    *("sample_prompt", "sample_tokens", "sample_temperature", "sample_top_p", "eval_batch_size"),
    *("report_to", "log_dir", "wandb_project", "run_name", "device", "distributed_backend"),
    *("world_size", "rendezvous_timeout", "early_stopping_patience", "early_stopping_min_delta"),
}
"""Settings that do not change what is learned from a batch. Settings in no list may change, which is reported."""


class Continued(NamedTuple):
    """The configuration that a run goes on with. changes: setting -> (value so far, value from here on)."""

    config: Config
    changes: Mapping[str, tuple[Any, Any]]


def merge_with_saved(config: Config, folder: Path, start: Path | None, say: Callable[[str], None]) -> Continued:
    """Return the configuration of the run in `folder`, overridden by what is given now; say each change that matters.

    A length that is given now replaces all lengths of the saved run. `start` is the checkpoint to continue from.

    Raises:
        MissingInputError, ConfigError, DataError: see `read_settings`.
        ConfigError: the run names code, or folders to write to, that nobody asked for.
        ResumeError: a setting would make it another run.
    """
    read = read_settings(folder, start, say)
    saved = read.current
    given = {name: value for name, value in config.values().items() if config.given(name)}
    if any(given.get(name) is not None for name in LENGTHS):
        given = {**dict.fromkeys(LENGTHS), **given}
    if given.get("engine", "auto") not in ("auto", "deepspeed"):
        given.setdefault("deepspeed_config", None)
    if given.get("deepspeed_config") is not None:
        given["deepspeed_config"] = read_deepspeed(given["deepspeed_config"])  # what is saved is the content
        if saved.training.engine not in ("auto", "deepspeed"):
            given.setdefault("engine", "deepspeed")
    if "learning_rate" in given:  # of the run's optimizer, which cannot change
        given.setdefault("optimizer", saved.training.optimizer)
    learned = read_environment(folder).get("vocab_size")
    if learned is not None and given.get("vocab_size") == learned:  # the number that the run reported
        given["vocab_size"] = saved.model.vocab_size
    merged = load_config(saved, given)
    settle_cache_dir(merged, folder, say)
    refuse_foreign_settings(merged, folder)
    return Continued(merged, _compare(read.at_checkpoint.values(), merged.values(), say))


def _compare(
    saved: Mapping[str, Any], merged: Mapping[str, Any], say: Callable[[str], None]
) -> dict[str, tuple[Any, Any]]:
    """Return the changes of what is learned from a batch or of how long; say them. Raises ResumeError."""
    changed = {name: (saved[name], value) for name, value in merged.items() if value != saved[name]}
    refused = [f"{name} is {new!r}, was {old!r}" for name, (old, new) in changed.items() if name in FORBIDDEN]
    if merged["extend_vocab"] and not saved["extend_vocab"]:
        raise ResumeError(
            "extend_vocab is True, was False: the model would be another one. To train its weights on more characters, "
            "start a new run: --init-from with this run, --extend-vocab, and another --output-dir"
        )
    if refused:
        raise ResumeError(f"this would not be the same run: {'; '.join(refused)}. Give it another --output-dir")
    for name, (old, new) in changed.items():
        if name in LENGTHS:
            old, new = ("unset" if value is None else value for value in (old, new))
            say(f"{name}: {new} instead of {old}; the schedule is planned again")
        elif name not in FREE and name not in BATCH:
            say(f"{name}: {new!r} instead of {old!r} from here on")
    return {name: values for name, values in changed.items() if name in LENGTHS or name not in FREE | {*BATCH}}


_LATER = ("frozen", "frozen_names", "dtype", "built_model")
"""What an older textmill did not write."""


def check_identity(
    saved: Mapping[str, Any], current: Mapping[str, Any], *, same_run: bool, say: Callable[[str], None]
) -> None:
    """Raises ResumeError unless data, tokenizer, global batch, model and given parts are those of the checkpoint.

    A run that only starts from another run's checkpoint (`same_run` false) may have another loss and optimizer, and
    needs the same tokenizer and model size.
    """
    for name in ("loss", "optimizer") if same_run else ():
        if name in saved:  # not written by an older textmill
            _check_part(name, saved[name], current[name], say)
    for name, code in (saved.get("code") or {}).items():
        if current["code"].get(name, code) != code:
            say(f"{name}: the code has changed since the run began, and is used as it is now")
    words = {
        "data": "the data, or how it is prepared, has changed since the run began (the fingerprints differ)",
        "tokenizer": "the tokenizer is not that of the run (the fingerprints differ)",
        "global_batch": "the global batch would be {new} rows and was {old}",
        "model": "the model would be of the class {new} and is {old}",
        "built_model": "the model would be of the class {new} and is {old}",
        "parameters": "the model would have {new} parameters and has {old}",
        "frozen": "{new} parameters would be frozen (requires_grad=False) and {old} are",
        "frozen_names": "other weights would be frozen (requires_grad=False) than are, as many",
        "dtype": "the weights would be {new} and are {old}",
    }
    for name, text in words.items():
        if (not same_run and name in ("data", "global_batch")) or (name in _LATER and name not in saved):
            continue  # or not written by an older textmill
        old, new = saved.get(name), current.get(name)
        if name == "model" and (old is None or new is None):
            if old is not None:
                raise ResumeError(f"the run trains {old}, a model given from Python: resume it there, with model=")
            if new is not None and name in saved:
                raise ResumeError(
                    f"the model would be {new} and is the one that the configuration describes: this would not be the "
                    "same run; leave out model="
                )
            continue  # written before the class was recorded
        if old != new:
            raise ResumeError(f"{text.format(old=old, new=new)}: this would not be the same run")


def _check_part(name: str, old: str | None, new: str | None, say: Callable[[str], None]) -> None:
    """Raises ResumeError where only one of the sessions has a part of its own of this kind; say another name."""
    if old is not None and new is None:
        raise ResumeError(f"the run has the {name} {old}, given from Python: resume it there, with {name}=")
    if old is None and new is not None:
        raise ResumeError(f"the run was begun without the {name} {new}: this would not be the same run; leave it out")
    if old != new:
        say(f"{name}: {new} instead of {old} from here on")


def split_batch(config: Config, saved_global_batch: int, world_size: int) -> None:
    """Set batch size and accumulation so that the global batch is the saved one, on any number of processes.

    Raises ResumeError, naming the numbers of processes that would work, when that is impossible.
    """
    training = config.training
    per_step = training.batch_size * world_size
    if per_step * training.gradient_accumulation_steps == saved_global_batch:
        return
    if saved_global_batch % per_step == 0:
        training.gradient_accumulation_steps = saved_global_batch // per_step
        return
    if saved_global_batch % world_size == 0:
        share = saved_global_batch // world_size
        rows = max(divisor for divisor in range(1, training.batch_size + 1) if share % divisor == 0)
        training.batch_size, training.gradient_accumulation_steps = rows, share // rows
        return
    sizes = [str(size) for size in range(1, saved_global_batch + 1) if saved_global_batch % size == 0]
    raise ResumeError(
        f"the global batch of {saved_global_batch} rows cannot be split over {world_size} processes; "
        f"use {', '.join(sizes[:12])}"
    )
