"""DeepSpeed's configuration beside ours: where both say something, they must say the same."""

from __future__ import annotations

from typing import Any

from textmill.config import Config
from textmill.engine.deepspeed_json import for_initialize, implied_settings, read_deepspeed
from textmill.engine.world import World
from textmill.errors import ConfigError
from textmill.training.resume import BATCH


def adopt_deepspeed(config: Config, world: World, *, resumed: bool) -> list[str]:
    """Settings that nobody chose have the values of `deepspeed_config`; return one sentence per change.

    The configuration holds what was in DeepSpeed's file, so that the run can be repeated without the file. A resumed
    run may divide its global batch otherwise than before.

    Raises:
        ConfigError: a setting was given another value, or DeepSpeed's configuration is wrong.
    """
    training = config.training
    settings = read_deepspeed(training.deepspeed_config)
    implied = implied_settings(settings, world.size)
    if training.deepspeed_config is None and training.precision == "auto":
        implied.pop("precision")
    said = []
    for leaf, value in implied.items():
        here = getattr(training, leaf)
        if here == value:
            continue
        free = (leaf == "precision" and here == "auto") or (resumed and leaf in BATCH)
        if training.given(leaf) and not free:
            raise ConfigError(
                f"deepspeed_config says {leaf} {value}, and there is {training.described(leaf)}: make them agree"
            )
        training.derive(leaf, value, force=True)
        said.append(f"{leaf}: {value}, because deepspeed_config says so")
    if training.precision == "auto":
        training.derive("precision", "fp32", force=True)
    training.derive("deepspeed_config", settings, force=True)
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
