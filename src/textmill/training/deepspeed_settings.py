"""DeepSpeed's configuration next to ours: where both set a value, they must agree."""

from typing import Any

from textmill.config import Config
from textmill.engine.deepspeed_json import for_initialize, implied_settings, read_deepspeed
from textmill.engine.world import World
from textmill.errors import ConfigError
from textmill.training.resume import BATCH


def adopt_deepspeed(config: Config, world: World, *, resumed: bool) -> list[str]:
    """Take settings that were not given from `deepspeed_config`; return one sentence per change.

    The content of DeepSpeed's file becomes part of the configuration, so that the run can be repeated without the file.
    A resumed run may divide its global batch differently.

    Raises:
        ConfigError: a setting was given with another value, or DeepSpeed's configuration is wrong.
    """
    training = config.training
    settings = read_deepspeed(training.deepspeed_config)
    implied = implied_settings(settings, world.size)
    if training.deepspeed_config is None and training.precision == "auto":
        implied.pop("precision")
    said = []
    for name, value in implied.items():
        here = getattr(training, name)
        if here == value:
            continue
        free = (name == "precision" and here == "auto") or (resumed and name in BATCH)
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


def deepspeed_settings(config: Config, world: World) -> dict[str, Any]:
    """Return the argument of deepspeed.initialize for this configuration."""
    training = config.training
    settings = read_deepspeed(training.deepspeed_config)
    if training.precision in ("fp16", "bf16"):
        settings = {**settings, training.precision: {**settings.get(training.precision, {}), "enabled": True}}
    return for_initialize(
        settings,
        batch_size=training.batch_size,
        accumulation=training.gradient_accumulation_steps,
        world_size=world.size,
        max_norm=training.max_grad_norm,
    )
