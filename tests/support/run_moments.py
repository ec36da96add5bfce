"""Something that happens at a step of a run, by torch's own hook on optimizers."""

from __future__ import annotations

from collections.abc import Callable

from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook
from torch.utils.hooks import RemovableHandle


def after_steps(act: Callable[[int], None]) -> RemovableHandle:
    """Call `act` with the number of every optimizer step of this process from now on, counted from 1.

    The step's periodic actions follow. The handle ends it, or a `with` block over the handle.
    """
    taken = 0

    def count(optimizer: Optimizer, arguments: object, options: object) -> None:
        nonlocal taken
        taken += 1
        act(taken)

    return register_optimizer_step_post_hook(count)
