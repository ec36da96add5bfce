"""From configuration values to live objects, in two phases: open and refuse, then start. A dry run ends in between."""

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from textmill.config import Config
from textmill.console.screen import Screen
from textmill.data.batches.text_size import counted_text
from textmill.errors import ConfigError, Interrupted
from textmill.evaluation.metrics import Metric
from textmill.optim.optimizer_choice import OptimizerFactory
from textmill.planning.plan import Plan, plan_run
from textmill.training.given_parts import Parts
from textmill.training.open_run import least_free_memory, open_run
from textmill.training.run import LossFunction, Run
from textmill.training.start_run import start_run


@contextmanager
def assemble(
    config: Config,
    *,
    model: nn.Module | None = None,
    data: Any = None,
    validation: Any = None,
    optimizer: OptimizerFactory | torch.optim.Optimizer | None = None,
    loss: LossFunction | None = None,
    metrics: Mapping[str, Metric] | None = None,
    screen: Screen | None = None,
    quiet: bool = False,
    on_signal: Literal["raise", "return"] = "raise",
) -> Iterator[Run]:
    """Open everything that `config` describes and yield it as a Run; save its last state and close all afterwards.

    A part given by hand replaces the one that the configuration would make:

    model: any module from ids (B, T) to logits (B, T, V), see `model.cross_entropy.logits_of`.
    data, validation: paths, texts of a program (see `Keeper.keep`), TextDatasets, or a prepared Corpus.
    optimizer: a function from parameter groups to an optimizer, or an optimizer of the parameters of `model`.
    loss: from the model and a Batch to summed nats over the counted targets.
    metrics: further metrics by name, each a function (logits, batch) -> (sum, count).
    screen: where progress goes, by default standard output. quiet: print nothing; the logger `textmill` gets all of it.
    on_signal: what follows after Ctrl-C, SIGTERM or SIGHUP, once the last state is saved: `raise` ends the program as
        if textmill had not been there, `return` ends the block with `run.stop_reason` set.

    Raises:
        TextmillError: naming what to put right; whatever can be refused is refused before anything is written.
        KeyboardInterrupt, SystemExit(143 or 129): after Ctrl-C, SIGTERM or SIGHUP.
    """
    if model is not None and not isinstance(model, nn.Module):
        raise ConfigError(
            f"model is {type(model).__name__}, not a torch.nn.Module; architecture= and preset= choose one of ours"
        )
    parts, raised = Parts(model, data, validation, optimizer, loss, metrics), None
    screen = screen or (Screen(quiet=True) if quiet else None)
    try:
        with open_run(config, parts, screen=screen) as opened, start_run(opened) as run:
            yield run
        raised = run.signal
    except Interrupted as interruption:  # before there was anything to save
        if on_signal == "return":
            raise
        raised = interruption.signal_number
    if raised is not None and on_signal == "raise":
        raise KeyboardInterrupt if raised == signal.SIGINT else SystemExit(128 + raised)


@dataclass(frozen=True)
class Preview:
    """What a run would be: `config` with every value settled, its plan, the bytes that each process can have."""

    config: Config
    plan: Plan
    free: int | None


def preview_run(config: Config, *, screen: Screen | None = None) -> Preview:
    """Read and count the text, build the model without memory, compute the plan; write nothing but the cache.

    Raises:
        TextmillError: whatever training would refuse before its first step.
    """
    with open_run(config, Parts(), screen=screen) as opened:
        config, device = opened.config, opened.world.device
        text, precision = counted_text(config, opened.corpus), opened.precision.name
        plan, _ = plan_run(config, text, device=device.type, precision=precision, world_size=opened.world.size)
        return Preview(config, plan, least_free_memory(opened.world))
