"""Build an optimizer from its name and numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import nn

from textmill.config.fields.training import OptimizerName
from textmill.errors import ConfigError, one_line
from textmill.imports import resolve_callable
from textmill.optim.lazy_compiler import leave_compiler_out
from textmill.optim.muon import Muon
from textmill.optim.parameter_groups import parameter_groups
from textmill.optim.skip_on_device import SGD

FEW_STEPS = 200
"""Steps of a run below which Muon updates the matrices in every step: each counts there."""

ONCE, OFTEN = (2.0, 3.0), (6.0, 0.5)
"""Epochs, and the learning rate of embeddings beside Muon as a multiple of the run's; in between it is interpolated.
Tokens that are rare are learned fast by a high rate, and memorized where the text is read again and again."""

OptimizerFactory = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]


@dataclass(frozen=True)
class AdamSettings:
    """The numbers of Adam's update: decay rates of the two moments, and the term against division by zero."""

    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8


@dataclass(frozen=True)
class MuonSettings:
    """What Muon does beside its learning rate and momentum.

    every: see `Muon`. embedding_rate: learning rate of embeddings as a multiple of the run's; a head with weights of
    its own has the run's. dtype: number format of the iterations.
    """

    every: int = 1
    embedding_rate: float = 1.0
    dtype: torch.dtype = torch.float32

    @classmethod
    def of_run(cls, total_steps: int | None, epochs: float | None, dtype: torch.dtype) -> "MuonSettings":
        """Return what learns most in a run of so many steps that reads its text so many times; None is not known."""
        every = 1 if total_steps is not None and total_steps < FEW_STEPS else 2
        if epochs is None:
            return cls(every, dtype=dtype)
        share = min(1.0, max(0.0, (epochs - ONCE[0]) / (OFTEN[0] - ONCE[0])))
        return cls(every, round(ONCE[1] + share * (OFTEN[1] - ONCE[1]), 2), dtype)


def build_optimizer(
    model: nn.Module,
    name: str | OptimizerFactory | torch.optim.Optimizer = "adamw",
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
    adam: AdamSettings = AdamSettings(),
    momentum: float | None = None,
    muon: MuonSettings = MuonSettings(),
) -> torch.optim.Optimizer:
    """Return the optimizer `name` over all trainable parameters of `model`, in the groups of `parameter_groups`.

    name: `adamw` (decoupled decay), `adam` (decay added to the gradient), `sgd`, `muon`, an import string
        `package.module:factory`, the factory itself: a function from parameter groups to an optimizer; or an optimizer.
    adam: also of `muon`, for vectors and embeddings.
    momentum: of `sgd` (None: 0.9) and `muon` (None: 0.9).
    muon: what else `muon` needs.

    Raises:
        ConfigError: an unknown name, or the factory does not return an optimizer, or a given one is of another model.
    """
    if isinstance(name, torch.optim.Optimizer):
        mine = {id(parameter) for parameter in model.parameters()}
        if any(id(parameter) not in mine for group in name.param_groups for parameter in group["params"]):
            raise ConfigError(
                f"optimizer: {type(name).__name__} has parameters that the model in training lacks: make it from those "
                "of the model that is passed, or pass a function, which the engines fsdp and deepspeed need"
            )
        return name
    leave_compiler_out()
    betas = adam.beta1, adam.beta2
    groups = parameter_groups(model, weight_decay=weight_decay)
    if callable(name) or ":" in name:
        factory = name if callable(name) else resolve_callable(name)
        return _made_by(factory, groups, repr(name))
    devices = {parameter.device.type for parameter in model.parameters()}
    if name in ("adamw", "adam"):
        kind = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
        fused = devices <= {"cpu", "cuda", "mps"}  # one kernel for all
        return kind(groups, lr=learning_rate, betas=betas, eps=adam.eps, fused=fused)
    if name == "sgd":
        kind = SGD if devices == {"cuda"} else torch.optim.SGD
        return kind(groups, lr=learning_rate, momentum=0.9 if momentum is None else momentum)
    if name == "muon":
        groups = _with_embedding_rate(model, groups, muon.embedding_rate)
        return Muon(
            groups,
            learning_rate,
            momentum=0.9 if momentum is None else momentum,
            every=muon.every,
            betas=betas,
            eps=adam.eps,
            iteration_dtype=muon.dtype,
        )
    raise ConfigError(
        f"unknown optimizer {name!r}; choose one of {', '.join(get_args(OptimizerName))}, or 'package.module:factory'"
    )


def _with_embedding_rate(model: nn.Module, groups: list[dict[str, Any]], rate: float) -> list[dict[str, Any]]:
    """Return the groups with `rate` for embeddings, and a group `head` for a head that shares no weights."""
    result = []
    head = getattr(getattr(model, "lm_head", None), "weight", None)
    tables = {id(table.weight) for table in model.modules() if isinstance(table, nn.Embedding)}
    for group in groups:
        own = [parameter for parameter in group["params"] if parameter is head and id(parameter) not in tables]
        if group["name"] == "embeddings":
            others = [parameter for parameter in group["params"] if all(parameter is not one for one in own)]
            if others:
                result.append({**group, "params": others, "lr_scale": rate})
            if own:
                result.append({**group, "params": own, "name": "head"})
        else:
            result.append(group)
    return result


def _made_by(factory: OptimizerFactory, groups: list[dict[str, Any]], name: str) -> torch.optim.Optimizer:
    try:
        optimizer = factory(groups)
    except Exception as error:  # whatever somebody's own code raises
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise ConfigError(f"optimizer {name} cannot be made of groups of parameters: {reason}") from error
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ConfigError(f"optimizer {name} returned {type(optimizer).__name__}, not a torch.optim.Optimizer")
    return optimizer


def try_optimizer(name: str, factory: OptimizerFactory, model: nn.Module) -> None:
    """Raise ConfigError unless `factory` makes an optimizer: of tiny parameters, in the groups that `model` has."""
    groups = parameter_groups(model, weight_decay=0.0)
    for group in groups:
        group["params"] = [nn.Parameter(torch.zeros([2] * parameter.ndim)) for parameter in group["params"]]
    _made_by(factory, groups, repr(name))
