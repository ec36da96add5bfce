"""A checkpoint for a loop of your own: weights, optimizer state and position in the schedule."""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from textmill.checkpoint.find_model import resolve_checkpoint
from textmill.checkpoint.model_folder import load_weights
from textmill.checkpoint.optimizer_state import restore_optimizer
from textmill.checkpoint.sharded_tensors import load_sharded
from textmill.errors import ResumeError
from textmill.training.checkpoint_state import load_state

_NEARLY = 1e-6
"""Share of an epoch: the end of an epoch is reached up to rounding."""


def load_checkpoint(
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None,
    scheduler: Any,
    path: str | Path,
    device: str | torch.device = "cpu",
) -> tuple[int, int]:
    """Load the checkpoint at `path`; return (optimizer steps taken, number of the first incomplete epoch, from 0).

    `model` is moved to `device` and gets the weights. `optimizer`, which keeps its groups and settings, gets the state
    of every parameter by name. `scheduler`, one of torch's at its start, is stepped as often as the run was, which sets
    the learning rates of the optimizer. `optimizer` and `scheduler` may be None.

    path: a checkpoint, a run, or the name that another tool would have given the file (`RUN/checkpoints/last.pt`).

    Raises:
        MissingInputError, DataError: there is no such checkpoint, or it is damaged or of another model.
        ResumeError: the optimizer is of another class or has other parameters.
    """
    folder = resolve_checkpoint(path)
    state = load_state(folder)
    load_weights(model, folder)
    model.to(device)
    if optimizer is not None:
        tensors = load_sharded(folder, "optimizer")
        restore_optimizer(optimizer, model, tensors, _regrouped(state["optimizer_groups"], optimizer, model))
    step: int = state["progress"]["step"]
    if scheduler is not None:
        with warnings.catch_warnings():  # it would warn that it is stepped before the optimizer
            warnings.simplefilter("ignore")
            for _ in range(step - scheduler.last_epoch):
                scheduler.step()
    return step, int(state["epoch"] + _NEARLY)


def _regrouped(saved: list[dict[str, Any]], optimizer: torch.optim.Optimizer, model: nn.Module) -> list[dict[str, Any]]:
    """Return the saved state of each parameter in the groups that `optimizer` has, and no settings."""
    entries = {entry["name"]: entry for group in saved for entry in group["parameters"]}
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = []
    for group in optimizer.param_groups:
        mine = [names.get(parameter, "") for parameter in group["params"]]
        unknown = [name for name in mine if name not in entries]
        if unknown:
            raise ResumeError(f"the checkpoint's optimizer has no parameter {unknown[0] or 'from outside the model'}")
        groups.append(
            {"optimizer": saved[0]["optimizer"], "settings": {}, "parameters": [entries[name] for name in mine]}
        )
    return groups
