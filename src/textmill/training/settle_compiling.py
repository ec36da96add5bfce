"""Whether a run is compiled: as somebody chose, as the run was begun, or if it is long enough to repay it."""

import importlib.util
from typing import Any

import torch

from textmill.config import Config
from textmill.console.number_format import plural
from textmill.engine.world import World
from textmill.machine.devices import peak_flops
from textmill.planning.repaid_compiling import estimate_repayment
from textmill.planning.run_length import Length

_OLDEST_GPU = (7, 0)
"""Compute capability that PyTorch's compiler needs: Volta."""

_ENGINES = ("single", "ddp")
"""Engines for which a run is compiled without being asked."""


def settle_compiling(
    config: Config, world: World, length: Length, engine: str, recorded: dict[str, Any], *, own_model: bool
) -> tuple[bool, str | None]:
    """Return whether the run is compiled, and a sentence about it if nobody chose; all processes the same.

    Without a choice only NVIDIA's GPUs run compiled code, and only for a model that the configuration describes.
    recorded: the kernels of a run that is resumed.
    """
    settings = config.training
    if settings.compile != "auto":
        return settings.compile, None
    if world.device.type != "cuda" or engine not in _ENGINES or settings.deterministic or not own_model:
        return False, None
    return world.from_first(lambda: _chosen(config, world, length, recorded.get("compiled")))


def _chosen(config: Config, world: World, length: Length, before: bool | None) -> tuple[bool, str | None]:
    if before is not None:
        return before, f"{'on' if before else 'off'}, as when the run was begun"
    if torch.cuda.get_device_capability(world.device) < _OLDEST_GPU:
        return False, None
    if importlib.util.find_spec("triton") is None:
        return False, "off, because PyTorch's compiler needs the package triton, which is not installed"
    found = estimate_repayment(
        config.model.resolved(),
        length,
        accumulation=config.training.gradient_accumulation_steps,
        processes=world.size,
        peak_flops=peak_flops(torch.cuda.get_device_name(world.device)),
    )
    training, compiling = _about(found.training), _about(found.compiling)
    if found.expected:
        return True, f"on: {training} of training should repay {compiling} of compiling (--no-compile: off)"
    return False, f"off: {training} of training would not repay {compiling} of compiling (--compile: on)"


def _about(seconds: float) -> str:
    """Return an estimate of seconds in words, no more exact than it is."""
    if seconds < 7200:
        return f"about {plural(max(1, round(seconds / 60)), 'minute')}"
    return f"about {plural(round(seconds / 3600), 'hour')}"
