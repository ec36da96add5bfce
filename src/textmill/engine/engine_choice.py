"""From the name of an engine to the engine: the one place that knows them all."""

from collections.abc import Callable
from typing import Any

from torch import nn

from textmill.engine.compiling import Compiler
from textmill.engine.engine import Engine, MakeOptimizer
from textmill.engine.single_and_ddp import DDPEngine, SingleEngine
from textmill.engine.world import World
from textmill.errors import ConfigError
from textmill.imports import require
from textmill.machine.precision import Precision
from textmill.machine.pytorch_since import FSDP


def choose_engine(name: str, world: World, *, deepspeed_config: Any = None, say: Callable[[str], None]) -> str:
    """Return the engine that `name` means in this world: single, ddp, fsdp or deepspeed.

    `auto` is deepspeed where there is a configuration for it, else single for one process and ddp for several. A run
    that was started on several processes may be resumed in one: `ddp` and `fsdp` then mean single, which is reported.

    Raises:
        ConfigError: the name contradicts the number of processes or the DeepSpeed configuration.
    """
    alone = world.size == 1
    if deepspeed_config is not None and name not in ("auto", "deepspeed"):
        raise ConfigError(f"deepspeed_config needs engine deepspeed, and the engine is {name}")
    if name == "auto":
        return "deepspeed" if deepspeed_config is not None else "single" if alone else "ddp"
    if name == "single" and not alone:
        raise ConfigError(
            f"engine single trains in one process, and {world.size} were started: use --engine ddp or fsdp"
        )
    if name in ("ddp", "fsdp") and alone:
        say(f"engine: single instead of {name}, because there is one process; torchrun starts more")
        return "single"
    return name


def refuse_contradictions(
    name: str, precision: Precision, world: World, *, optimizer: str, compile: bool, on_spike: str = "warn"
) -> None:
    """Refuse settings that the engine called `name` (of `choose_engine`) cannot combine.

    Raises:
        MissingExtraError: engine deepspeed, and the package is not installed.
        ConfigError: the engine cannot be combined with the precision, the optimizer, compiling or rolling back; or it
            needs a newer PyTorch.
    """
    half = precision.name == "fp16"
    if name == "fsdp" and half:
        raise ConfigError("engine fsdp has no loss scaling for precision fp16: use --precision bf16 or --engine ddp")
    if name == "fsdp":
        FSDP.require("use --engine ddp")
    if name != "deepspeed":
        return
    if half and world.device.type == "cpu":
        raise ConfigError("DeepSpeed's fp16 needs a GPU: set fp16.enabled to false, or use --engine fsdp on a CPU")
    if compile:
        raise ConfigError("compile and engine deepspeed cannot be combined: use --engine ddp or fsdp")
    if optimizer == "muon":
        raise ConfigError("optimizer muon needs whole matrices, and DeepSpeed flattens them: use --engine fsdp")
    if on_spike == "rollback":
        raise ConfigError(
            "on_spike rollback and engine deepspeed cannot be combined, because DeepSpeed's loss scale is in no "
            "checkpoint: use --engine fsdp or --on-spike warn"
        )
    require("deepspeed", "engine deepspeed", "deepspeed")


def build_engine(
    name: str,
    module: nn.Module,
    make_optimizer: MakeOptimizer,
    precision: Precision,
    world: World,
    *,
    compile: Compiler | None,
    deepspeed: dict[str, Any] | None,
) -> Engine:
    """Return the engine called `name` (of `choose_engine`), with `module` on the device or divided among processes.

    compile: compiles the model; None leaves it as it is. deepspeed: the configuration for deepspeed.initialize, where
    that is the engine.
    """
    if name == "deepspeed":
        from textmill.engine.deepspeed import DeepSpeedEngine

        assert deepspeed is not None
        return DeepSpeedEngine(module, make_optimizer, precision, world, settings=deepspeed)
    if name == "fsdp":
        from textmill.engine.fsdp import FSDPEngine

        return FSDPEngine(module, make_optimizer, precision, world, compile=compile)
    engine = DDPEngine if name == "ddp" else SingleEngine
    return engine(module, make_optimizer, precision, world, compile=compile)
