"""DeepSpeed's own JSON configuration: read, checked, translated to our settings, and back. Torch-free.

Keys: https://www.deepspeed.ai/docs/config-json. Known keys are passed on or translated; a key that is unknown, or
that textmill handles itself, is an error, because a setting that is silently ignored trains another model.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textmill.config import Config
from textmill.config.field_types import closest
from textmill.errors import ConfigError, DataError, MissingInputError
from textmill.files import read_json

DEFAULT: dict[str, Any] = {"zero_optimization": {"stage": 2}}
"""What engine deepspeed does without a configuration: optimizer state and gradients are divided among processes."""

NO_CLIPPING = 1e30
"""A norm that no gradient reaches; with 0 DeepSpeed would not compute the norm, which the log needs."""

OPTIMIZERS = {"adam": "adam", "adamw": "adamw", "sgd": "sgd"}
"""DeepSpeed's name of an optimizer, in lower case -> ours."""

_OPTIMIZER_KEYS = {"lr": "learning_rate", "weight_decay": "weight_decay", "eps": "eps", "momentum": "momentum"}

_BATCH = {
    "train_micro_batch_size_per_gpu": "batch_size",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
}

_PASSED_ON = {
    *(
        "zero_optimization",
        "fp16",
        "bf16",
        "bfloat16",
        "communication_data_type",
        "seq_parallel_communication_data_type",
    ),
    *("data_types", "prescale_gradients", "gradient_predivide_factor", "sparse_gradients", "disable_allgather"),
    *("steps_per_print", "wall_clock_breakdown", "dump_state", "memory_breakdown", "comms_logger", "flops_profiler"),
    *("zero_allow_untested_optimizer", "zero_force_ds_cpu_optimizer", "aio", "timers", "train_batch_size"),
}

_OURS = {
    "scheduler": "lr_schedule",
    "amp": "precision",
    "activation_checkpointing": "gradient_checkpointing",
    "checkpoint": "save_steps",
    "tensorboard": "report_to",
    "wandb": "report_to",
    "csv_monitor": "report_to",
    "data_efficiency": "packing_strategy",
    "curriculum_learning": "packing_strategy",
}
"""Keys for what textmill does itself -> the setting to use instead."""


def read_deepspeed(source: str | Path | Mapping[str, Any] | None) -> dict[str, Any]:
    """Return DeepSpeed's configuration from a JSON file or a mapping, keys checked, `"auto"` values left out.

    Raises:
        MissingInputError: the file is not there.
        ConfigError: it is not a JSON object, or has a key that is unknown or that textmill has its own setting for.
    """
    if source is None:
        return dict(DEFAULT)
    where = "deepspeed_config"
    if not isinstance(source, Mapping):
        where = str(source)
        try:
            source = read_json(Path(source))
        except MissingInputError as error:
            raise MissingInputError(f"deepspeed_config: {error}") from error
        except DataError as error:
            raise ConfigError(f"deepspeed_config: {error}") from error
    known = {*_PASSED_ON, *_BATCH, "optimizer", "gradient_clipping"}
    for key in source:
        if key in _OURS:
            raise ConfigError(f"{where}: textmill does {key} itself: leave it out and set {_OURS[key]}")
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}{closest(str(key), known)}")
    settings = {key: value for key, value in source.items() if value != "auto"}
    settings.setdefault("zero_optimization", {"stage": 0})
    for key in ("zero_optimization", "optimizer", "fp16", "bf16"):
        if not isinstance(settings.get(key, {}), Mapping):
            raise ConfigError(f"{where}: {key} must be an object, not {settings[key]!r}")
    stage = settings["zero_optimization"].get("stage", 0)
    if stage not in (1, 2, 3):
        raise ConfigError(f"{where}: zero_optimization stage {stage!r}: use 1, 2 or 3; stage 0 is --engine ddp")
    return settings


def implied_settings(settings: Mapping[str, Any], world_size: int) -> dict[str, Any]:
    """Return the values of our settings that DeepSpeed's configuration fixes, by name.

    Raises ConfigError when train_batch_size is not micro batch x accumulation x processes, naming the numbers, and for
    an optimizer or a parameter of one that textmill does not know.
    """
    implied = {setting: settings[key] for key, setting in _BATCH.items() if key in settings}
    implied |= _batch(settings, world_size)
    if "gradient_clipping" in settings:
        implied["max_grad_norm"] = float(settings["gradient_clipping"])
    if (described := settings.get("optimizer")) is not None:
        implied |= _optimizer(described)
    half = [name for key, name in (("fp16", "fp16"), ("bf16", "bf16"), ("bfloat16", "bf16")) if _enabled(settings, key)]
    if len(set(half)) > 1:
        raise ConfigError("deepspeed_config: fp16 and bf16 are both enabled: enable one of them")
    implied["precision"] = half[0] if half else "fp32"
    return implied


def _batch(settings: Mapping[str, Any], world_size: int) -> dict[str, int]:
    total = settings.get("train_batch_size")
    if total is None:
        return {}
    known = {setting: settings[key] for key, setting in _BATCH.items() if key in settings}
    if len(known) == len(_BATCH):
        rows, accumulation = known["batch_size"], known["gradient_accumulation_steps"]
        if total != rows * accumulation * world_size:
            raise ConfigError(_wrong_total(total, rows, accumulation, world_size))
        return {}
    known = known or {"gradient_accumulation_steps": 1}
    ((setting, given),) = known.items()
    missing = next(other for other in _BATCH.values() if other != setting)
    if total % (given * world_size):
        raise ConfigError(
            f"deepspeed_config: train_batch_size {total} is not a multiple of "
            f"{setting} {given} x {world_size} processes"
        )
    return {setting: given, missing: total // (given * world_size)}


def _wrong_total(total: int, rows: int, accumulation: int, world_size: int) -> str:
    text = (
        f"deepspeed_config: train_batch_size {total} is not train_micro_batch_size_per_gpu {rows} x "
        f"gradient_accumulation_steps {accumulation} x {world_size} processes = {rows * accumulation * world_size}"
    )
    if total % (rows * accumulation) == 0:
        return f"{text}; start {total // (rows * accumulation)} processes, or leave train_batch_size out"
    return f"{text}; leave one of the three out"


def _optimizer(described: Mapping[str, Any]) -> dict[str, Any]:
    kind = str(described.get("type", "")).lower()
    if kind not in OPTIMIZERS:
        named = described.get("type")
        raise ConfigError(f"deepspeed_config: optimizer type {named!r}: use Adam, AdamW or SGD, or leave it out")
    implied: dict[str, Any] = {"optimizer": OPTIMIZERS[kind]}
    parameters = dict(described.get("params", {}))
    if kind == "adam" and parameters.pop("adam_w_mode", True):
        implied["optimizer"] = "adamw"  # DeepSpeed's Adam decays as AdamW does unless it is told otherwise
    parameters.pop("adam_w_mode", None)
    parameters.pop("torch_adam", None)
    if (betas := parameters.pop("betas", "auto")) != "auto":
        implied["beta1"], implied["beta2"] = betas
    for key, value in parameters.items():
        if key not in _OPTIMIZER_KEYS:
            raise ConfigError(
                f"deepspeed_config: optimizer parameter {key!r}{closest(key, _OPTIMIZER_KEYS)} is unknown"
            )
        if value != "auto":
            implied[_OPTIMIZER_KEYS[key]] = value
    return implied


def _enabled(settings: Mapping[str, Any], key: str) -> bool:
    return bool(settings.get(key, {}).get("enabled", False))


def adopt_deepspeed(config: Config, world_size: int, *, resumed: bool) -> list[str]:
    """Take settings that were not given from `deepspeed_config`; return one sentence per change.

    The content of DeepSpeed's file becomes part of the configuration, so that the run can be repeated without the file.
    A resumed run may divide its global batch differently.

    Raises:
        ConfigError: a setting was given with another value, or DeepSpeed's configuration is wrong.
    """
    training = config.training
    settings = read_deepspeed(training.deepspeed_config)
    implied = implied_settings(settings, world_size)
    if training.deepspeed_config is None and training.precision == "auto":
        implied.pop("precision")
    said = []
    for name, value in implied.items():
        here = getattr(training, name)
        if here == value:
            continue
        free = (name == "precision" and here == "auto") or (resumed and name in _BATCH.values())
        if training.given(name) and not free:
            raise ConfigError(
                f"deepspeed_config sets {name} to {value}, against {training.described(name)}: make them agree"
            )
        training.derive(name, value, force=True)
        said.append(f"{name}: {value}, from deepspeed_config")
    if training.precision == "auto":
        training.derive("precision", "fp32", force=True)
    training.derive("deepspeed_config", settings, force=True)
    return said


def for_initialize(config: Config, world_size: int) -> dict[str, Any]:
    """Return the argument of deepspeed.initialize: all numbers written out, the optimizer left to textmill."""
    training = config.training
    made = read_deepspeed(training.deepspeed_config)
    made.pop("optimizer", None)
    if training.precision in ("fp16", "bf16"):
        made[training.precision] = {**made.get(training.precision, {}), "enabled": True}
    rows, accumulation = training.batch_size, training.gradient_accumulation_steps
    return made | {
        "train_micro_batch_size_per_gpu": rows,
        "gradient_accumulation_steps": accumulation,
        "train_batch_size": rows * accumulation * world_size,
        "gradient_clipping": training.max_grad_norm or NO_CLIPPING,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }
