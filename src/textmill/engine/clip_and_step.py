"""The update as PyTorch makes it, shared unchanged by the engines single, ddp and fsdp."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from textmill.engine.skipped_steps import SkippedSteps
from textmill.engine.world import World
from textmill.machine.precision import Precision


class TorchUpdate:
    """Scaled backward, clipping, skipping and the optimizer's step over the parameters of `module`.

    model: `module` as the loss calls it. total_norm: the L2 norm over the gradients of all processes, ().
    skips_on_device: let the optimizer's kernel skip steps by itself, if it is able to.
    """

    def __init__(
        self,
        module: nn.Module,
        model: nn.Module,
        optimizer: Optimizer,
        precision: Precision,
        world: World,
        *,
        total_norm: Callable[[Iterable[Tensor]], Tensor] = get_total_norm,
        skips_on_device: bool = True,
    ) -> None:
        self.module, self.model, self.optimizer = module, model, optimizer
        self.precision, self.world = precision, world
        self.scaler = precision.scaler()
        self.skipped = SkippedSteps(world.device)
        self._parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._total_norm = total_norm
        self._skips_on_device = (
            skips_on_device and world.device.type == "cuda" and getattr(optimizer, "_step_supports_amp_scaling", False)
        )

    def set_learning_rate(self, learning_rate: float) -> None:
        set_learning_rate(self.optimizer, learning_rate)

    def backward(self, loss: Tensor) -> None:
        # Gradients are averaged over processes; the loss is a share of one mean, so the sum is wanted.
        loss = loss * self.world.size if self.world.size > 1 else loss
        (self.scaler.scale(loss) if self.scaler else loss).backward()

    def step(self, max_norm: float) -> Tensor:
        if self.scaler:
            self.scaler.unscale_(self.optimizer)
        norm = self._total_norm([parameter.grad for parameter in self._parameters if parameter.grad is not None])  # ()
        finite = torch.isfinite(norm)
        if max_norm > 0:
            clip_grads_with_norm_([p for p in self._parameters if p.grad is not None], max_norm, norm)
        if self.scaler:
            self.scaler.step(self.optimizer)  # looks at every gradient itself and skips when one is not finite
            self.scaler.update()
        elif self._skips_on_device:  # a flag that makes the kernel do nothing: no value goes to the host
            self.optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
            self.optimizer.grad_scale = None  # type: ignore[attr-defined]
            self.optimizer.step()
        elif finite.item():
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.skipped.count(finite)
        return norm

    def scale_is_minimal(self) -> bool:
        return self.scaler is None or self.scaler.get_scale() <= 1.0

    def snapshot(self) -> tuple[nn.Module, Optimizer]:
        return self.module, self.optimizer

    @contextmanager
    def loading(self) -> Iterator[tuple[nn.Module, Optimizer]]:
        yield self.module, self.optimizer

    def state(self) -> dict[str, Any]:
        return {**self.skipped.state(), "scaler": self.scaler.state_dict() if self.scaler else None}

    def load_state(self, state: dict[str, Any]) -> None:
        self.skipped.load_state(state)
        if self.scaler and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])


def compiled(model: nn.Module, compile: bool) -> nn.Module:
    """Return what the loss calls: `model`, compiled if asked for; the module itself stays as it is.

    Training has one shape; automatic dynamic shapes would make the kernels depend on which came before. Evaluation,
    generation and saving, whose shapes vary, use the module.
    """
    return torch.compile(model, dynamic=False) if compile else model  # type: ignore[return-value]


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    """Set the rate of every parameter group: `learning_rate`, times the group's `lr_scale` if it has one."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("lr_scale", 1.0)
