"""Decide whether a configuration may resume a run, and say what differs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from textmill.config import Config, load_config
from textmill.config.run_config import LENGTHS, NOT_DUMPED
from textmill.errors import MissingInputError, ResumeError
from textmill.runs import layout

SHAPE = (
    *("architecture", "vocab_size", "d_model", "num_layers", "num_heads", "num_kv_heads", "head_dim", "d_ff"),
    *("max_seq_len", "activation", "norm", "norm_eps", "pre_norm", "pos_encoding", "rope_theta", "tie_embeddings"),
    "bias",
)
"""Settings that decide which tensors there are and what they mean."""

FORBIDDEN = {
    *SHAPE,
    *("seed", "optimizer", "momentum", "tokenizer", "special_tokens", "init_from"),
    *("pack_sequences", "packing_strategy", "mask_documents", "augmentation", "augmentation_prob", "min_length"),
    *("val_split", "encoding_errors", "text_column"),
}
"""Settings that would make it another run. The data themselves are compared by their fingerprint."""

BATCH = ("batch_size", "gradient_accumulation_steps")
"""May change as long as their product with the number of processes, the global batch, stays."""

FREE = {
    *LENGTHS,
    *NOT_DUMPED,
    *("preset", "data", "val_data", "cache_dir", "num_workers", "preprocessing_num_workers"),
    *("dataset_name", "dataset_config", "dataset_split", "validation_split"),
    *("logging_steps", "eval_steps", "save_steps", "sample_steps", "save_total_limit", "metrics"),
    *("sample_prompt", "sample_tokens", "sample_temperature", "sample_top_p", "eval_batch_size"),
    *("report_to", "log_dir", "wandb_project", "run_name", "device", "distributed_backend", "world_size"),
    *("early_stopping_patience", "early_stopping_min_delta"),
}
"""Settings that change nothing of what is learned from a batch. All that are in no list are allowed and mentioned."""


def merge_with_saved(config: Config, folder: Path, say: Callable[[str], None]) -> Config:
    """Return the configuration of the run in `folder` with what was given now over it, saying each change that matters.

    A length that is given now replaces the lengths of the saved run.

    Raises:
        MissingInputError: the run's config.yaml is gone.
        ResumeError: something given now would make it another run.
    """
    path = folder / layout.CONFIG
    if not path.is_file():
        raise MissingInputError(f"{path} is missing: without it the run cannot be continued")
    saved = load_config(path)
    given = {leaf: value for leaf, value in config.values().items() if config.given(leaf)}
    if any(given.get(leaf) is not None for leaf in LENGTHS):
        given = {**dict.fromkeys(LENGTHS), **given}
    if given.get("engine", "auto") not in ("auto", "deepspeed"):
        given.setdefault("deepspeed_config", None)
    if given.get("deepspeed_config") is not None:
        given.setdefault("engine", "deepspeed")
    merged = load_config(saved, given)
    _compare(saved.values(), merged.values(), say)
    return merged


def _compare(saved: Mapping[str, Any], merged: Mapping[str, Any], say: Callable[[str], None]) -> None:
    changed = {leaf: (saved[leaf], value) for leaf, value in merged.items() if value != saved[leaf]}
    refused = [f"{leaf} is {new!r}, was {old!r}" for leaf, (old, new) in changed.items() if leaf in FORBIDDEN]
    if refused:
        raise ResumeError(f"this would not be the same run: {'; '.join(refused)}. Give it an --output-dir of its own")
    for leaf, (old, new) in changed.items():
        if leaf in LENGTHS and (old is not None or new is not None):
            say(f"{leaf}: {new if new is not None else 'unset'} instead of {old}; the schedule is planned anew")
        elif leaf not in FREE and leaf not in BATCH:
            say(f"{leaf}: {new!r} instead of {old!r} from here on")


def check_identity(saved: Mapping[str, Any], current: Mapping[str, Any], *, same_run: bool = True) -> None:
    """Raises ResumeError unless the data, the tokenizer and the global batch are those of the checkpoint.

    Of a run that only starts from another's checkpoint (`same_run` false) the model and the tokenizer are asked.
    """
    words = {
        "data": "the data have changed since the run began (the fingerprints differ)",
        "tokenizer": "the tokenizer is not that of the run (the fingerprints differ)",
        "global_batch": "the global batch would be {new} rows and was {old}",
        "parameters": "the model would have {new} parameters and has {old}",
    }
    for name, text in words.items():
        if not same_run and name in ("data", "global_batch"):
            continue
        old, new = saved.get(name), current.get(name)
        if old != new:
            raise ResumeError(f"{text.format(old=old, new=new)}: this would not be the same run")


def split_batch(config: Config, saved_global_batch: int, world_size: int) -> None:
    """Accumulation is such that the global batch stays as it was, on however many processes there are now.

    Raises ResumeError, naming the numbers of processes that would do, where none is.
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
