"""An optimizer's state as tensors by parameter name plus JSON, and back, bit for bit.

torch numbers the parameters in the order in which they were passed; here they have names, such as
`exp_avg/model.layers.0.mlp.up_proj.weight`, and the order may change. Works for every optimizer that keeps its state by
parameter in `state` and its hyperparameters in `param_groups`, as those of torch.optim do.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from textmill.checkpoint.safetensors_files import copy_shard
from textmill.errors import ResumeError

_KERNELS = ("fused", "foreach", "capturable")
"""Entries of a group that choose between kernels for the same update. They are those of the machine that trains: not
saved, and not restored from older checkpoints that have them.
"""

_NOT_SETTINGS = ("params", "param_names", *_KERNELS)


def flatten_optimizer(optimizer: Optimizer, model: nn.Module) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Return the state tensors, named `key/parameter`, and the JSON-ready values of each parameter group.

    The tensors are the optimizer's own, not copies. A group is {"optimizer": class, "settings": lr, betas, ...,
    "parameters": [{"name", "shape", "tensors": keys, "values": state that is not a tensor}]}.
    Raises ValueError for a parameter of the optimizer that the model lacks.
    """
    names = {parameter: name for name, parameter in model.named_parameters()}
    tensors: dict[str, Tensor] = {}
    groups: list[dict[str, Any]] = []
    for group in optimizer.param_groups:
        described = []
        for parameter in group["params"]:
            if parameter not in names:
                raise ValueError(
                    f"{type(optimizer).__name__} has a parameter of shape {tuple(parameter.shape)} that the model lacks"
                )
            name, state = names[parameter], optimizer.state.get(parameter, {})
            kept = {key: value for key, value in state.items() if isinstance(value, Tensor)}
            tensors.update({f"{key}/{name}": value.detach() for key, value in kept.items()})
            rest = {key: value for key, value in state.items() if key not in kept}
            described.append({"name": name, "shape": list(parameter.shape), "tensors": list(kept), "values": rest})
        settings = {key: _to_json(value) for key, value in group.items() if key not in _NOT_SETTINGS}
        groups.append({"optimizer": type(optimizer).__name__, "settings": settings, "parameters": described})
    return tensors, groups


def restore_optimizer(
    optimizer: Optimizer, model: nn.Module, tensors: Mapping[str, Tensor], groups: Sequence[Mapping[str, Any]]
) -> None:
    """Set the optimizer's state and settings to copies of what `flatten_optimizer` returned, to the bit.

    The optimizer must have been built as the saved one was: same class, same parameters in the same groups, on any
    device. Each tensor is put on the device on which the optimizer itself would have made it. Settings that the saved
    groups lack are left unchanged, and so is everything if anything does not fit.

    Raises:
        ResumeError: naming the tensor, parameter or group that does not fit.
    """
    names = {parameter: name for name, parameter in model.named_parameters()}
    current = optimizer.param_groups
    if len(current) != len(groups):
        raise ResumeError(f"the checkpoint's optimizer has {len(groups)} parameter groups, this one has {len(current)}")
    unused = set(tensors)
    plan: list[tuple[Tensor, dict[str, Any]]] = []
    devices = _devices_of_state(optimizer)
    for index, (group, saved) in enumerate(zip(current, groups)):
        if saved["optimizer"] != type(optimizer).__name__:
            raise ResumeError(f"the checkpoint was made with {saved['optimizer']}, not with {type(optimizer).__name__}")
        by_name = {names.get(parameter, "?"): parameter for parameter in group["params"]}
        _refuse_other_parameters(index, by_name.keys(), [entry["name"] for entry in saved["parameters"]])
        for entry in saved["parameters"]:
            parameter = by_name[entry["name"]]
            if list(parameter.shape) != entry["shape"]:
                shapes = f"shape {entry['shape']} in the checkpoint and {list(parameter.shape)} here"
                raise ResumeError(f"parameter {entry['name']} of the optimizer has {shapes}")
            state: dict[str, Any] = dict(entry["values"])
            for key in entry["tensors"]:
                full_name = f"{key}/{entry['name']}"
                if full_name not in tensors:
                    raise ResumeError(f"the checkpoint lacks the optimizer's tensor {full_name}")
                unused.discard(full_name)
                state[key] = _copied(tensors[full_name], parameter, devices[index].get(key) or parameter.device)
            plan.append((parameter, state))
    if unused:
        raise ResumeError(f"the checkpoint's optimizer tensor {min(unused)} belongs to no parameter of this model")
    for group, saved in zip(current, groups):
        for key, value in saved["settings"].items():
            if key in _KERNELS:
                continue
            group[key] = _from_json(value, group.get(key))
    for parameter, state in plan:
        if state:
            optimizer.state[parameter] = state
        else:
            optimizer.state.pop(parameter, None)


def _refuse_other_parameters(index: int, here: Iterable[str], saved: Iterable[str]) -> None:
    here, saved = set(here), set(saved)
    for name in sorted(saved - here):
        raise ResumeError(f"parameter {name} is in the checkpoint's optimizer group {index} and not in this one's")
    for name in sorted(here - saved):
        raise ResumeError(f"parameter {name} is in this optimizer's group {index} and not in the checkpoint's")


def _devices_of_state(optimizer: Optimizer) -> list[dict[str, torch.device]]:
    """Return for each group on which device the optimizer makes each tensor of a parameter's state.

    Most lie beside the parameter; a counter of steps may lie on the CPU, which the class, the group's settings and the
    version of torch decide. So a twin of the optimizer takes a step on a tiny parameter of each group. On a CPU there
    is nothing to find out; neither is there for a twin that cannot step, and then torch's rule for `step` is applied.
    """
    found: list[dict[str, torch.device]] = []
    for group in optimizer.param_groups:
        parameter = next(iter(group["params"]), None)
        if parameter is None or parameter.device.type == "cpu":
            found.append({})
            continue
        tiny = nn.Parameter(torch.zeros([2] * parameter.ndim, dtype=parameter.dtype, device=parameter.device))
        tiny.grad = torch.zeros_like(tiny)
        twin = object.__new__(type(optimizer))
        twin.__dict__.update({key: value for key, value in vars(optimizer).items() if key != "step"})  # a scheduler's
        twin.__dict__.update(_optimizer_step_pre_hooks=OrderedDict(), _optimizer_step_post_hooks=OrderedDict())
        twin.param_groups = [{**group, "params": [tiny]}]
        twin.state = defaultdict(dict)
        try:
            twin.step()
        except Exception:  # whatever somebody's own optimizer needs besides gradients
            on_device = group.get("capturable") or group.get("fused")
            found.append({} if on_device else {"step": torch.device("cpu")})
            continue
        state = twin.state[tiny].items()
        found.append({key: value.device for key, value in state if isinstance(value, Tensor)})
    return found


def _copied(saved: Tensor, parameter: Tensor, device: torch.device) -> Tensor:
    """Return a copy of `saved` on `device`, in the dtype in which it was saved."""
    if saved.shape == parameter.shape:  # in the parameter's own memory layout, on which the fast paths rely
        copied = torch.empty_like(parameter, dtype=saved.dtype, device=device, requires_grad=False)
        copy_shard(copied, saved)
        return copied
    return saved.to(device, copy=True)


def _to_json(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.item()
    return list(value) if isinstance(value, tuple) else value


def _from_json(value: Any, current: Any) -> Any:
    """Return the saved setting in the type that the optimizer has now."""
    if isinstance(current, Tensor):
        return torch.full_like(current, value)
    return tuple(value) if isinstance(value, list) and isinstance(current, tuple) else value
