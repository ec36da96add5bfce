"""Muon for matrices, AdamW for everything else, as one optimizer with one state.

Muon replaces a matrix's momentum by the nearest semi-orthogonal matrix, so that every direction of the update has the
same size (Jordan et al., https://kellerjordan.github.io/posts/muon). Matrices of one shape are stacked and
orthogonalised together.
"""

import math
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from textmill.optim.orthogonalise import orthogonalise
from textmill.optim.skip_on_device import flag_of, local, replace_if


class Muon(torch.optim.Optimizer):
    """Groups named `matrices` are updated by Muon, all others by AdamW; both use the group's `lr` and `weight_decay`.

    The update of an (A, B) matrix is scaled by 0.2 sqrt(max(A, B)), which gives it the root mean square that AdamW's
    updates have (arXiv:2502.16982, eq. 4): one learning rate serves both kinds of group.

    momentum: of Muon, with Nesterov's look-ahead. betas, eps: of AdamW.
    every: update the matrices in every so many steps; the gradients of all steps go into the momentum. Two halve the
        cost of the orthogonalisation, and learn as much in runs of some hundred steps and more.
    iteration_dtype: number format of the orthogonalisation; bfloat16 is accurate enough, and fast where the
        hardware supports it.

    Steps are skipped by the flag of `skip_on_device`; one that is skipped counts for `every`.
    """

    _step_supports_amp_scaling = True

    def __init__(
        self,
        groups: list[dict[str, Any]],
        lr: float,
        *,
        momentum: float = 0.9,
        every: int = 1,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        iteration_dtype: torch.dtype = torch.float32,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "every": every,
            "steps": 0,  # taken so far; saved and restored with the group
            "betas": betas,
            "eps": eps,
            "weight_decay": 0.0,
            "name": "vectors",
            "fused": True,  # of AdamW's part: tells torch's load_state_dict that `step` lies beside the parameter
        }
        super().__init__(groups, defaults)
        self._iteration_dtype = iteration_dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        found_inf = flag_of(self)
        if found_inf is not None and found_inf.device.type == "mps":  # whose fused kernels do not look at it
            if found_inf.item():
                return loss
            found_inf = None
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            if group["name"] == "matrices":
                self._step_matrices(parameters, group, None if found_inf is None else found_inf == 0)
            else:
                self._step_adamw(parameters, group, found_inf)
        return loss

    def _step_matrices(self, parameters: list[Tensor], group: dict[str, Any], taken: Tensor | None) -> None:
        """Move the matrices, if `taken` is true or None."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        buffers = []
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(parameter)
            buffers.append(state["momentum_buffer"])
        if taken is not None:  # a gradient equal to the momentum leaves it as it is
            replace_if(~taken, gradients, buffers)
        torch._foreach_lerp_(buffers, gradients, 1.0 - group["momentum"])
        if group["weight_decay"]:
            kept = 1.0 - group["lr"] * group["weight_decay"]
            torch._foreach_mul_(local(parameters), kept if taken is None else _number(taken, kept, 1.0))
        group["steps"] += 1
        if (group["steps"] - 1) % group["every"] != 0:
            return
        updates = _between(gradients, buffers, group["momentum"])
        shapes: dict[torch.Size, list[int]] = defaultdict(list)
        for index, parameter in enumerate(parameters):
            shapes[parameter.shape].append(index)
        for shape, indices in shapes.items():
            stacked = torch.stack([_whole(updates[index]) for index in indices])  # (n, A, B)
            directions = orthogonalise(stacked.flatten(2), dtype=self._iteration_dtype)
            if taken is not None:
                directions = directions * taken
            scale = 0.2 * math.sqrt(max(directions.shape[-2:]))
            torch._foreach_add_(
                [parameters[index] for index in indices],
                [
                    _part(direction.view(shape).to(parameters[index].dtype), parameters[index])
                    for index, direction in zip(indices, directions)
                ],
                alpha=-group["lr"] * scale,
            )

    def _step_adamw(self, parameters: list[Tensor], group: dict[str, Any], found_inf: Tensor | None) -> None:
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
        states = [self.state[parameter] for parameter in parameters]
        beta1, beta2 = group["betas"]
        adamw(
            parameters,
            [parameter.grad for parameter in parameters if parameter.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            foreach=False,
            fused=True,
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
            found_inf=found_inf,
        )


def _number(condition: Tensor, yes: float, no: float) -> Tensor:
    """Return `yes` or `no` as a tensor () beside `condition`; `torch.where` would copy both to a GPU."""
    return torch.full((), yes, dtype=torch.float32, device=condition.device).masked_fill_(~condition, no)


def _between(starts: list[Tensor], ends: list[Tensor], weight: float) -> list[Tensor]:
    """Return start + weight * (end - start) of each pair."""
    if hasattr(starts[0], "placements"):  # sharded over processes: PyTorch 2.9 cannot do all of them at once
        return [start.lerp(end, weight) for start, end in zip(starts, ends)]
    return list(torch._foreach_lerp(starts, ends, weight))


def _whole(tensor: Tensor) -> Tensor:
    """Return the full tensor of one that is sharded over processes: part of a matrix has other singular vectors."""
    return tensor.full_tensor() if hasattr(tensor, "placements") else tensor  # type: ignore[attr-defined]


def _part(whole: Tensor, parameter: Tensor) -> Tensor:
    """Return this process's shard of `whole`, sharded as `parameter` is."""
    if not hasattr(parameter, "placements"):
        return whole
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(parameter, DTensor)
    return distribute_tensor(whole, parameter.device_mesh, parameter.placements, src_data_rank=None)
