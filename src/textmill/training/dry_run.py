"""A run up to its first step and no further: everything that can be refused is, and no file of the run is written."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from textmill.checkpoint.find_model import resolve_model
from textmill.checkpoint.model_folder import load_weights
from textmill.config import Config
from textmill.console.screen import Screen
from textmill.data.batches.text_size import text_of
from textmill.data.store.corpus import Corpus
from textmill.engine.world import World
from textmill.machine.precision import choose_precision
from textmill.model.from_config import empty_model
from textmill.planning.plan import Plan, plan_run
from textmill.training.assemble import assemble


@dataclass(frozen=True)
class Rehearsal:
    """What a run would be made with: `config` with nothing left to fit, its plan, the bytes free on its device."""

    config: Config
    plan: Plan
    free: int | None


class _Rehearsed(Exception):
    """Ends a rehearsal where the run would begin to write."""


def rehearse(config: Config, *, screen: Screen | None = None) -> Rehearsal:
    """Return what `config` would do: text read and counted, the model built without memory, the plan computed.

    Prepared text stays in the cache, so that the run itself starts with it. Nothing is written to the output folder.

    Raises:
        TextmillError: whatever training would refuse before its first step.
    """
    rehearsed: list[Rehearsal] = []

    def stop(config: Config, corpus: Corpus, world: World) -> None:
        rehearsed.append(_rehearsal(config, corpus, world))
        raise _Rehearsed

    try:
        with assemble(config, screen=screen, before_writing=stop):
            pass
    except _Rehearsed:
        pass
    return rehearsed[0]


def _rehearsal(config: Config, corpus: Corpus, world: World) -> Rehearsal:
    settings = config.training
    precision = choose_precision(settings.precision, world.device)
    with torch.device("meta"):
        model = empty_model(config.model)
        if settings.init_from is not None:
            load_weights(model, resolve_model(settings.init_from))
    text = text_of(config, corpus)
    plan, _ = plan_run(config, text, device=world.device.type, precision=precision.name, world_size=world.size)
    free = torch.cuda.mem_get_info(world.device)[0] if world.device.type == "cuda" else None
    return Rehearsal(config, plan, free)
