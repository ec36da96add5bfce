"""DeepSpeed's configuration beside ours: where both say something, they must say the same."""

from __future__ import annotations

from typing import Any

from textmill.config import Config
from textmill.engine.deepspeed_json import for_initialize, implied_settings, read_deepspeed
from textmill.engine.world import World
from textmill.errors import ConfigError


def adopt_deepspeed(config: Config, world: World) -> list[str]:
    """Settings that nobody chose have the values of `deepspeed_config`; return one sentence per change.

    Raises ConfigError naming a setting that was given another value, or what is wrong in DeepSpeed's configuration.
    """
    training = config.training
    implied = implied_settings(read_deepspeed(training.deepspeed_config), world.size)
    if training.deepspeed_config is None and training.precision == "auto":
        implied.pop("precision")
    said = []
    for leaf, value in implied.items():
        here = getattr(training, leaf)
        if here == value:
            continue
        if training.given(leaf) and not (leaf == "precision" and here == "auto"):
            raise ConfigError(
                f"deepspeed_config says {leaf} {value}, and there is {training.described(leaf)}: make them agree"
            )
        training.derive(leaf, value, force=True)
        said.append(f"{leaf}: {value}, because deepspeed_config says so")
    if training.precision == "auto":
        training.derive("precision", "fp32", force=True)
    return said


def deepspeed_settings(config: Config, world: World) -> dict[str, Any]:
    """Return what deepspeed.initialize is to be given for this configuration."""
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
