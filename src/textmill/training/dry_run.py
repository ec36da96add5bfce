"""A run up to its first step: everything that can be refused is refused, and no file of the run is written."""

from dataclasses import dataclass

import torch

from textmill.config import Config
from textmill.console.screen import Screen
from textmill.data.batches.text_size import counted_text
from textmill.planning.plan import Plan, plan_run
from textmill.training.open_run import OpenedRun, Parts, open_run


@dataclass(frozen=True)
class Preview:
    """What a run would be: `config` with every value settled, its plan, the bytes free on its device."""

    config: Config
    plan: Plan
    free: int | None


def preview_run(config: Config, *, screen: Screen | None = None) -> Preview:
    """Read and count the text, build the model without memory, compute the plan; write nothing but the cache.

    Raises:
        TextmillError: whatever training would refuse before its first step.
    """
    with open_run(config, Parts(), screen=screen) as opened:
        return _preview(opened)


def _preview(opened: OpenedRun) -> Preview:
    config, device = opened.config, opened.world.device
    text = counted_text(config, opened.corpus)
    plan, _ = plan_run(config, text, device=device.type, precision=opened.precision.name, world_size=opened.world.size)
    return Preview(config, plan, torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None)
