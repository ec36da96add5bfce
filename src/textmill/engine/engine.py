"""What an engine is: the verbs by which the loop trains, whatever executes them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from textmill.engine.world import World
from textmill.machine.precision import Precision

MakeOptimizer = Callable[[nn.Module], Optimizer]
"""From a module to the optimizer of its parameters."""


class SkippedSteps:
    """How many steps were not taken because a gradient was not finite: `total`, and `in_row` up to now.

    Both are tensors on the device, so that counting is free; reading one waits for the device.
    """

    def __init__(self, device: torch.device) -> None:
        self.total = torch.zeros((), dtype=torch.int64, device=device)
        self.in_row = torch.zeros((), dtype=torch.int64, device=device)

    def count(self, finite: Tensor) -> None:
        """Count one more step, which was taken if `finite`, ()."""
        self.total = self.total + ~finite
        self.in_row = torch.where(finite, 0, self.in_row + 1)

    def state(self) -> dict[str, Any]:
        """Return both numbers, for a checkpoint."""
        return {"skipped": int(self.total.item()), "skipped_in_row": int(self.in_row.item())}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take both numbers from a checkpoint."""
        self.total.fill_(state["skipped"])
        self.in_row.fill_(state["skipped_in_row"])


class Engine(Protocol):
    """Executes optimizer steps on `module`. Scaling, clipping, zeroing and skipping happen here and nowhere else.

    The loop uses five verbs: `set_learning_rate`, `micro_batch`, `backward`, `step` and, after a step that kept them,
    `clear_gradients`. Checkpoints use `snapshot` and
    `whole` to save, `loading` to load, and `state` and `load_state` for what is neither weights nor optimizer.

    Attributes:
        name: what `--engine` calls it.
        module: the network itself, for evaluation, generation and saving.
        model: what the loss calls: `module`, or a wrapper of it.
        optimizer: what the engine's maker got from `make_optimizer`.
        skipped: the steps not taken because a gradient was not finite.
        writers: how many processes write a checkpoint, the first ones: as many as have something that others lack.
    """

    name: str
    module: nn.Module
    model: nn.Module
    optimizer: Optimizer
    precision: Precision
    world: World
    skipped: SkippedSteps
    writers: int

    def set_learning_rate(self, learning_rate: float) -> None:
        """Use `learning_rate` in the next step, in every group times the group's `lr_scale` if it has one."""
        ...

    def micro_batch(self, *, last: bool) -> AbstractContextManager[None]:
        """Return the context for forward and backward of one micro-batch; after the `last` gradients are complete."""
        ...

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss`, this process's share of the whole batch's mean, to those already there."""
        ...

    def step(self, max_norm: float, *, keep_gradients: bool = False) -> Tensor:
        """Move the weights by one update and clear the gradients; return the gradients' norm before clipping, ().

        max_norm: gradients are scaled down to this norm (L2 over all parameters); 0 leaves them alone. When the norm
        is not finite nothing moves and the step counts as skipped, on all processes alike.
        keep_gradients: leave them, as the optimizer got them, until `clear_gradients`.

        Raises ConfigError if they are to be kept by an engine that has none.
        """
        ...

    def clear_gradients(self) -> None:
        """Clear gradients that were kept."""
        ...

    def scale_is_minimal(self) -> bool:
        """Return whether fp16's loss scale cannot be lowered further; true where there is no scale."""
        ...

    def snapshot(self) -> tuple[nn.Module, Optimizer]:
        """Return a module and an optimizer of its parameters to save from, by the `writers`; all processes call it."""
        ...

    def whole(self, tensor: Tensor) -> Tensor:
        """Return a tensor of the snapshot undivided; if it is divided, all processes call it."""
        ...

    def loading(self) -> AbstractContextManager[tuple[nn.Module, Optimizer]]:
        """Return a context that yields a module and an optimizer; what is loaded into them is in force afterwards."""
        ...

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint needs besides weights and optimizer, as JSON-ready values."""
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue where the engine that returned `state` was."""
        ...
