"""The update as PyTorch makes it, shared unchanged by the engines single, ddp and fsdp."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from textmill.engine.compiling import Compiler
from textmill.engine.engine import MakeOptimizer, SkippedSteps
from textmill.engine.world import World
from textmill.machine.precision import Precision


class TorchUpdate:
    """Scaled backward, clipping, skipping and the optimizer's step over the parameters of `module`.

    model: `module` as the loss calls it.
    """

    writers = 1

    def __init__(
        self,
        module: nn.Module,
        model: nn.Module,
        make_optimizer: MakeOptimizer,
        precision: Precision,
        world: World,
        *,
        compile: Compiler | None,
    ) -> None:
        self.module, self.optimizer = module, make_optimizer(module)
        # Evaluation, generation and saving, whose shapes vary, use the module, which stays as it is.
        self.model: nn.Module = compile(model) if compile else model
        self.precision, self.world = precision, world
        self.scaler = precision.scaler()
        self.skipped = SkippedSteps(world.device)
        self._parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        able = getattr(self.optimizer, "_step_supports_amp_scaling", False)
        self._skips_on_device = able and world.device.type == "cuda"  # Apple's kernels do not look at the flag

    def set_learning_rate(self, learning_rate: float) -> None:
        set_learning_rate(self.optimizer, learning_rate)

    def micro_batch(self, *, last: bool) -> AbstractContextManager[None]:
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        # Gradients are averaged over processes; the loss is a share of one mean, so the sum is wanted.
        loss = loss * self.world.size if self.world.size > 1 else loss
        (self.scaler.scale(loss) if self.scaler else loss).backward()

    def step(self, max_norm: float, *, keep_gradients: bool = False) -> Tensor:
        if self.scaler:
            self.scaler.unscale_(self.optimizer)
        norm = self.whole(get_total_norm([p.grad for p in self._parameters if p.grad is not None]))  # ()
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
        if not keep_gradients:
            self.clear_gradients()
        self.skipped.count(finite)
        return norm

    def clear_gradients(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)

    def scale_is_minimal(self) -> bool:
        return self.scaler is None or self.scaler.get_scale() <= 1.0

    def snapshot(self) -> tuple[nn.Module, Optimizer]:
        return self.module, self.optimizer

    def whole(self, tensor: Tensor) -> Tensor:
        return tensor

    @contextmanager
    def loading(self) -> Iterator[tuple[nn.Module, Optimizer]]:
        yield self.module, self.optimizer

    def state(self) -> dict[str, Any]:
        return {**self.skipped.state(), "scaler": self.scaler.state_dict() if self.scaler else None}

    def load_state(self, state: dict[str, Any]) -> None:
        self.skipped.load_state(state)
        if self.scaler and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    """Set the rate of every parameter group: `learning_rate`, times the group's `lr_scale` if it has one."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("lr_scale", 1.0)
