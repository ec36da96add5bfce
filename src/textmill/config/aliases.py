"""Every other spelling of a setting: the names that guides, papers and other tools use for the same thing.

`ALIASES` renames. `REWRITES` has the spellings whose value changes too, such as `train_split: 0.9` for
`val_split: 0.1`. Flags, files, keywords and attributes all use these two tables; hyphens count as underscores.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from textmill.config.field_types import number, path, show, switch, texts, whole

_SPELLINGS = {
    # data
    "data": "data_path data_dir train_data train_file training_data",
    "val_data": "validation_data val_file validation_file val_path",
    "val_split": "val_ratio validation_ratio",
    "text_column": "text_key text_field",
    "num_workers": "dataloader_num_workers",
    "preprocessing_num_workers": "num_proc",
    # tokenizer
    "tokenizer": "tokenizer_type algorithm tokenizer_path tokenizer_name",
    # model
    "architecture": "arch model_type",
    "d_model": "model_dim dim_model embedding_dim embed_dim dim n_embd hidden_size hidden_dim",
    "num_layers": "n_layers layers n_layer num_hidden_layers depth",
    "num_heads": "n_heads heads n_head num_attention_heads",
    "num_kv_heads": "n_kv_heads kv_heads num_key_value_heads",
    "d_ff": "ff_dim dim_ff ffn_dim intermediate_size feedforward_dim",
    "max_seq_len": "context_length block_size seq_length max_seq_length max_length sequence_length seq_len",
    "pos_encoding": "position_encoding positional_encoding positions",
    "norm_eps": "layer_norm_eps rms_norm_eps",
    "bias": "use_bias",
    "init_std": "initializer_range",
    "tie_embeddings": "tie_word_embeddings tie_weights",
    "gradient_checkpointing": "use_gradient_checkpointing activation_checkpointing",
    # length, batch, optimizer
    "epochs": "num_epochs num_train_epochs max_epochs",
    "max_steps": "num_steps total_steps max_iters num_training_steps",
    "batch_size": "per_device_train_batch_size micro_batch_size",
    "gradient_accumulation_steps": "accumulation_steps grad_accum gradient_accumulation",
    "optimizer": "optim optimizer_type",
    "learning_rate": "lr max_lr max_learning_rate",
    "min_learning_rate": "min_lr",
    "lr_schedule": "lr_scheduler scheduler scheduler_type lr_scheduler_type",
    "warmup_steps": "warmup_iters warmup",
    "decay_steps": "cosine_steps lr_decay_steps lr_decay_iters",
    "lr_decay": "gamma lr_gamma",
    "lr_decay_every": "step_size lr_step_size",
    "weight_decay": "wd",
    "beta1": "adam_beta1",
    "beta2": "adam_beta2",
    "eps": "adam_epsilon adam_eps",
    "max_grad_norm": "grad_clip gradient_clip gradient_clip_norm clip_grad clip_grad_norm",
    "label_smoothing": "label_smoothing_factor",
    "precision": "dtype",
    "compile": "compile_model torch_compile",
    "deterministic": "full_determinism",
    "distributed_backend": "ddp_backend dist_backend",
    "deepspeed_config": "deepspeed",
    "seed": "random_seed",
    "threads": "num_threads cpu_threads",
    # run control
    "early_stopping_patience": "patience",
    "early_stopping_min_delta": "early_stopping_threshold min_delta",
    "save_steps": "checkpoint_interval save_interval checkpoint_every",
    "eval_steps": "eval_every eval_interval",
    "logging_steps": "log_every log_interval log_steps",
    "sample_steps": "sample_every sample_interval",
    "sample_prompt": "prompt",
    "sample_tokens": "max_new_tokens",
    "sample_temperature": "temperature",
    "sample_top_p": "top_p",
    "eval_batches": "max_eval_batches eval_iters",
    "eval_batch_size": "per_device_eval_batch_size val_batch_size",
    "save_total_limit": "max_checkpoints keep_last checkpoint_keep_last",
    "output_dir": "checkpoint_dir output run_dir out_dir",
    "resume_from": "resume_from_checkpoint checkpoint",
    "overwrite": "clean overwrite_output_dir",
    # tracking
    "log_dir": "logging_dir tensorboard_dir",
    "wandb_project": "project",
    "run_name": "wandb_run_name experiment_name",
}

ALIASES: dict[str, str] = {alias: name for name, aliases in _SPELLINGS.items() for alias in aliases.split()}
"""Other spelling -> canonical name."""


class Rewrite(NamedTuple):
    """A spelling that means canonical settings with other values.

    `write(value, layer)` returns what it sets; `layer` has the settings of the same layer and of those below. If the
    same layer also gives a setting that it sets, the two must agree, except that a setting in `yields` keeps the given
    value and one in `replaces` gets the new one. `read(get)` is the reverse, for attributes.
    """

    write: Callable[[Any, Mapping[str, Any]], dict[str, Any]]
    read: Callable[[Callable[[str], Any]], Any]
    yields: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()


def _early_stopping(value: Any, layer: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(value, bool) or not str(value).strip().isdigit():
        return {"early_stopping_patience": 5 if switch(value) else 0}
    return {"early_stopping_patience": whole(value)}


def _mixed_precision(value: Any, layer: Mapping[str, Any]) -> dict[str, Any]:
    try:
        on = switch(value)
    except ValueError:
        return {"precision": value}
    if not on:
        return {"precision": "fp32"}
    if layer.get("precision") in ("bf16", "fp16"):
        return {}
    return {"precision": layer.get("amp_dtype", "auto")}


def _amp_dtype(value: Any, layer: Mapping[str, Any]) -> dict[str, Any]:
    return {} if "use_amp" in layer or "mixed_precision" in layer else {"precision": value}


def _save_every(value: Any, layer: Mapping[str, Any]) -> dict[str, Any]:
    """Return save_steps; 1 means every epoch, as in the guides: nobody wants a checkpoint after every step."""
    return {"save_steps": "epoch" if str(value).strip() == "1" else value}


def _when_true(**settings: Any) -> Callable[[Any, Mapping[str, Any]], dict[str, Any]]:
    return lambda value, layer: dict(settings) if switch(value) else {}


def _reporter(name: str) -> Rewrite:
    def write(value: Any, layer: Mapping[str, Any]) -> dict[str, Any]:
        others = [item for item in texts(layer.get("report_to") or []) if item != name]
        return {"report_to": [*others, name] if switch(value) else others}

    return Rewrite(write, lambda get: name in get("report_to"), replaces=("report_to",))


def _use_deepspeed(value: Any, layer: Mapping[str, Any]) -> dict[str, Any]:
    return {"engine": "deepspeed"} if switch(value) else {"deepspeed_config": None}


def _train_split(value: Any, layer: Mapping[str, Any]) -> dict[str, Any]:
    return {"val_split": round(1 - number(value), 12)}


def _files_from(value: Any, layer: Mapping[str, Any]) -> dict[str, Any]:
    """Return data with the list of files as a further item, `@FILE`."""
    item = f"@{path(value)}"
    others = [other for other in texts(layer.get("data") or []) if other != item]
    return {"data": [*others, item]}


def _betas(value: Any, layer: Mapping[str, Any]) -> dict[str, Any]:
    pair = value.replace(",", " ").split() if isinstance(value, str) else list(value)
    if len(pair) != 2:
        raise ValueError(f"must be two numbers, not {show(value)}")
    return {"beta1": pair[0], "beta2": pair[1]}


def _resume(value: Any, layer: Mapping[str, Any]) -> dict[str, Any]:
    """Return resume for a switch or "auto", and resume_from for a path or the name of a checkpoint."""
    words = {"true", "false", "yes", "no", "on", "off", "1", "0", "auto", "none", "null"}
    is_name = isinstance(value, str) and value.strip().lower() not in words
    return {"resume_from": value} if is_name else {"resume": value}


REWRITES: dict[str, Rewrite] = {
    "early_stopping": Rewrite(
        _early_stopping, lambda get: get("early_stopping_patience") > 0, yields=("early_stopping_patience",)
    ),
    "mixed_precision": Rewrite(_mixed_precision, lambda get: get("precision")),
    "use_amp": Rewrite(_mixed_precision, lambda get: get("precision") != "fp32"),
    "amp_dtype": Rewrite(_amp_dtype, lambda get: get("precision")),
    "fp16": Rewrite(_when_true(precision="fp16"), lambda get: get("precision") == "fp16"),
    "bf16": Rewrite(_when_true(precision="bf16"), lambda get: get("precision") == "bf16"),
    "tensorboard": _reporter("tensorboard"),
    "use_tensorboard": _reporter("tensorboard"),
    "wandb": _reporter("wandb"),
    "use_wandb": _reporter("wandb"),
    "train_split": Rewrite(_train_split, lambda get: round(1 - get("val_split"), 12)),
    "files_from": Rewrite(
        _files_from,
        lambda get: next((item.removeprefix("@") for item in get("data") or () if item.startswith("@")), None),
        replaces=("data",),
    ),
    "betas": Rewrite(_betas, lambda get: (get("beta1"), get("beta2"))),
    "use_deepspeed": Rewrite(_use_deepspeed, lambda get: get("engine") == "deepspeed", replaces=("deepspeed_config",)),
    "use_data_augmentation": Rewrite(
        _when_true(augmentation=["case", "punctuation", "whitespace"]),
        lambda get: bool(get("augmentation")),
        yields=("augmentation",),
    ),
    "save_every": Rewrite(_save_every, lambda get: get("save_steps")),
    "resume": Rewrite(_resume, lambda get: get("resume")),
}
"""Other spelling -> its rewrite in canonical names. `resume` is canonical too."""

RIVALS = (("min_lr_ratio", "min_learning_rate"), ("warmup_steps", "warmup_ratio"), ("data", "dataset_name"))
"""Pairs of settings for the same thing: a later layer that gives one of them removes the other."""


def canonical(key: str) -> str:
    """Return the canonical name of `key` if it is an alias, else `key` with underscores."""
    name = key.strip().replace("-", "_")
    return ALIASES.get(name, name)
