"""Steps that change nothing if a flag on the device says so, so that the host does not wait for it.

The flag is PyTorch's: the attribute `found_inf` of an optimizer, float32 (), 1 if a gradient is not finite. Its fused
Adam kernels look at it on NVIDIA GPUs. Its loss scaler sets it, and `grad_scale`, for every optimizer that says
`_step_supports_amp_scaling`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


def flag_of(optimizer: Optimizer) -> Tensor | None:
    """Return the flag, or None where nobody has set one; divide the gradients by the scale that they may have."""
    scale = getattr(optimizer, "grad_scale", None)
    if scale is not None:
        for group in optimizer.param_groups:
            gradients = [parameter.grad for parameter in group["params"] if parameter.grad is not None]
            if gradients:
                torch._foreach_div_(local(gradients), scale)
    return getattr(optimizer, "found_inf", None)


def local(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return each tensor, or of one that is divided this process's shard, which shares its memory."""
    return [tensor.to_local() if hasattr(tensor, "placements") else tensor for tensor in tensors]  # type: ignore[attr-defined]


def replace_if(condition: Tensor, tensors: Sequence[Tensor], others: Sequence[Tensor]) -> None:
    """Overwrite each tensor with the other one of its shape if `condition`, a bool (), is true."""
    for tensor, other in zip(local(tensors), local(others)):
        torch.where(condition, other, tensor, out=tensor)


class SGD(torch.optim.SGD):
    """PyTorch's SGD with that flag, for momentum and weight decay as `build_optimizer` sets them.

    PyTorch's fused kernel has the flag too. It is not used, because it leaves the momentum undefined if it skips the
    first step, and does not update parameters that are divided among processes.
    """

    _step_supports_amp_scaling = True

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        found_inf = flag_of(self)
        if found_inf is None:
            return super().step(closure)
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if parameters:
                self._step_if(found_inf == 0, parameters, group)
        return None

    def _step_if(self, taken: Tensor, parameters: list[Tensor], group: dict[str, Any]) -> None:
        weights = local(parameters)
        changes: Sequence[Tensor] = local([parameter.grad for parameter in parameters if parameter.grad is not None])
        if group["weight_decay"]:
            changes = torch._foreach_add(changes, weights, alpha=group["weight_decay"])
        if group["momentum"]:
            for parameter in parameters:
                if self.state[parameter].get("momentum_buffer") is None:
                    self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
            buffers = local([self.state[parameter]["momentum_buffer"] for parameter in parameters])
            moved = torch._foreach_mul(buffers, group["momentum"])
            torch._foreach_add_(moved, changes)
            replace_if(taken, buffers, moved)
            changes = moved
        replace_if(taken, weights, torch._foreach_add(weights, changes, alpha=-group["lr"]))
