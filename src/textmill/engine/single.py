"""How one optimizer step is executed in one process, or replicated over several (DDP).

An engine has four verbs: `micro_batch(last)`, `backward(loss)`, `step(max_norm)` and `state`/`load_state`. Scaling,
clipping, zeroing and skipping non-finite steps happen here and nowhere else. Other engines derive from this one and
change only what they do otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from textmill.engine.world import World
from textmill.machine.precision import Precision

MakeOptimizer = Callable[[nn.Module], Optimizer]
"""From a module to the optimizer of its parameters."""


class Engine:
    """Executes steps of an optimizer on `module` with one full copy of the weights in each process.

    optimizer: what `make_optimizer` returned for the module, once the module is where and what it will be.
    model: what the loss calls; `module` itself, or its DDP wrapper when the world has several processes.
    skipped, skipped_in_row: steps not taken because a gradient was not finite (tensors on the device, no sync).
    """

    name = "single"

    def __init__(
        self,
        module: nn.Module,
        make_optimizer: MakeOptimizer,
        precision: Precision,
        world: World,
        *,
        compile: bool = False,
    ) -> None:
        self.module = module
        self.precision = precision
        self.world = world
        self.scaler = precision.scaler()
        self.model: nn.Module
        self.model, self.optimizer = self._spread(module, make_optimizer)
        if compile:
            # Training has one shape; automatic dynamic shapes would make the kernels depend on which came before.
            # `module` stays as it is, for evaluation, generation and saving, whose shapes vary.
            self.model = torch.compile(self.model, dynamic=False)  # type: ignore[assignment]
        self.skipped = torch.zeros((), dtype=torch.int64, device=world.device)
        self.skipped_in_row = torch.zeros((), dtype=torch.int64, device=world.device)
        self._parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]

    def _spread(self, module: nn.Module, make_optimizer: MakeOptimizer) -> tuple[nn.Module, Optimizer]:
        """Return what the loss calls and the optimizer; the module is on the device, or divided over the devices."""
        module.to(self.world.device)
        self._ddp: DistributedDataParallel | None = None
        if self.world.size == 1:
            return module, make_optimizer(module)
        ids = [self.world.device.index] if self.world.device.type == "cuda" else None
        self._ddp = DistributedDataParallel(module, device_ids=ids, gradient_as_bucket_view=True)
        self.name = "ddp"
        return self._ddp, make_optimizer(module)

    @contextmanager
    def micro_batch(self, *, last: bool) -> Iterator[None]:
        """Forward and backward of one micro-batch belong inside; gradients are exchanged in the `last` one only."""
        if self._ddp is not None and not last:
            with self._ddp.no_sync():
                yield
        else:
            yield

    def backward(self, loss: Tensor) -> None:
        """The gradients of `loss`, this process's share of the whole batch's mean, are added to those already there.

        Engines average over processes; the loss is a share of one mean, so the sum is wanted: multiply by their number.
        """
        loss = loss * self.world.size if self.world.size > 1 else loss
        (self.scaler.scale(loss) if self.scaler else loss).backward()

    def step(self, max_norm: float) -> Tensor:
        """The weights have moved by one update, the gradients are cleared; return the gradients' norm before clipping.

        max_norm: gradients are scaled down to this norm (L2 over all parameters); 0 leaves them alone. When the norm
        is not finite nothing moves and the step counts as skipped, on all processes alike.
        """
        if self.scaler:
            self.scaler.unscale_(self.optimizer)
        norm = self._norm([parameter.grad for parameter in self._parameters if parameter.grad is not None])  # ()
        finite = torch.isfinite(norm)
        if max_norm > 0:
            clip_grads_with_norm_([p for p in self._parameters if p.grad is not None], max_norm, norm)
        if self.scaler:
            self.scaler.step(self.optimizer)  # looks at every gradient itself and skips when one is not finite
            self.scaler.update()
        elif self._skips_on_device():
            self.optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
            self.optimizer.grad_scale = None  # type: ignore[attr-defined]
            self.optimizer.step()
        elif finite.item():
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._count(finite)
        return norm

    def _norm(self, gradients: Iterable[Tensor]) -> Tensor:
        """Return the L2 norm over all gradients of all processes, ()."""
        return get_total_norm(gradients)

    def _count(self, finite: Tensor) -> None:
        self.skipped = self.skipped + ~finite
        self.skipped_in_row = torch.where(finite, 0, self.skipped_in_row + 1)

    def _skips_on_device(self) -> bool:
        """Whether the optimizer's kernel takes a flag that makes it do nothing, so that no value goes to the host."""
        return self.world.device.type == "cuda" and getattr(self.optimizer, "_step_supports_amp_scaling", False)

    def scale_is_minimal(self) -> bool:
        """Whether fp16's loss scale cannot be lowered further; true where there is no scale."""
        return self.scaler is None or self.scaler.get_scale() <= 1.0

    def set_learning_rate(self, learning_rate: float) -> None:
        """The next step uses `learning_rate`, in every group times the group's `lr_scale` where it has one."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group.get("lr_scale", 1.0)

    def whole(self, tensor: Tensor) -> Tensor:
        """Return `tensor`, of the snapshot's weights or optimizer, whole; all processes call it where it is divided."""
        return tensor

    @property
    def writers(self) -> int:
        """How many processes write a checkpoint, the first ones: as many as hold something that others lack."""
        return 1

    def snapshot(self) -> tuple[nn.Module, Optimizer]:
        """Return a module and an optimizer of its parameters to save from, by the `writers`; all processes call it."""
        return self.module, self.optimizer

    @contextmanager
    def loading(self) -> Iterator[tuple[nn.Module, Optimizer]]:
        """What is loaded into the module and the optimizer that this yields is in force afterwards."""
        yield self.module, self.optimizer

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold besides weights and optimizer: JSON-ready values."""
        return {
            "skipped": int(self.skipped.item()),
            "skipped_in_row": int(self.skipped_in_row.item()),
            "scaler": self.scaler.state_dict() if self.scaler else None,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """This engine goes on where the one that returned `state` was."""
        self.skipped.fill_(state["skipped"])
        self.skipped_in_row.fill_(state["skipped_in_row"])
        if self.scaler and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
