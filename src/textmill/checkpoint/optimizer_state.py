"""An optimizer's state as tensors by parameter name plus JSON, and back, bit for bit.

torch numbers the parameters in the order in which they were passed; here they have names, such as
`exp_avg/model.layers.0.mlp.up_proj.weight`, and the order may change. Works for every optimizer that keeps its state by
parameter in `state` and its hyperparameters in `param_groups`, as those of torch.optim do.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from textmill.checkpoint.safetensors_files import copy_shard
from textmill.errors import ResumeError

_NOT_SETTINGS = ("params", "param_names")


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

    The optimizer must have been built as the saved one was: same class, same parameters in the same groups. Settings
    that the saved groups lack are left unchanged, and so is everything if anything does not fit.

    Raises:
        ResumeError: naming the tensor, parameter or group that does not fit.
    """
    names = {parameter: name for name, parameter in model.named_parameters()}
    current = optimizer.param_groups
    if len(current) != len(groups):
        raise ResumeError(f"the checkpoint's optimizer has {len(groups)} parameter groups, this one has {len(current)}")
    unused = set(tensors)
    plan: list[tuple[Tensor, dict[str, Any]]] = []
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
                state[key] = _copied(tensors[full_name], key, parameter, group)
            plan.append((parameter, state))
    if unused:
        raise ResumeError(f"the checkpoint's optimizer tensor {min(unused)} belongs to no parameter of this model")
    for group, saved in zip(current, groups):
        for key, value in saved["settings"].items():
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


def _copied(saved: Tensor, key: str, parameter: Tensor, group: Mapping[str, Any]) -> Tensor:
    """Return a copy of `saved` on the device that the optimizer expects, in the dtype in which it was saved.

    `step` stays on the CPU unless the group computes it on the device (`capturable` or `fused`), which is torch's rule.
    """
    device = parameter.device
    if key == "step" and not (group.get("capturable") or group.get("fused")):
        device = torch.device("cpu")
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
