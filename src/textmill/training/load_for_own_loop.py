"""A checkpoint for a loop of your own: weights, optimizer state and place in the schedule."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from textmill.checkpoint.find_model import resolve_checkpoint
from textmill.checkpoint.model_folder import load_weights
from textmill.checkpoint.optimizer_state import restore_optimizer
from textmill.checkpoint.sharded import load_sharded
from textmill.errors import ResumeError
from textmill.training.checkpoint_state import load_state

_NEARLY = 1e-6
"""Of an epoch; steps are whole, so that the end of an epoch is reached up to rounding."""


def load_checkpoint(
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None,
    scheduler: Any,
    path: str | Path,
    device: str | torch.device = "cpu",
) -> tuple[int, int]:
    """Return (optimizer steps taken, number of the first epoch not complete, from 0) of the checkpoint at `path`.

    `model` is on `device` and has its weights. `optimizer`, whose groups and settings are your own, has its state of
    every parameter, found by name. `scheduler`, one of torch's and at its start, is as if it had been stepped that
    often, and the optimizer's learning rates with it. `optimizer` and `scheduler` may be None.

    path: a checkpoint, a run, or the name that another tool would have given the file (`RUN/checkpoints/last.pt`).

    Raises:
        MissingInputError, DataError: there is no such checkpoint, or it is damaged or another model's.
        ResumeError: the optimizer is of another class or holds other parameters.
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
        with warnings.catch_warnings():  # it is stepped ahead of the optimizer here, which is what it would warn of
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
            raise ResumeError(f"the checkpoint's optimizer has no parameter {unknown[0] or 'foreign to the model'}")
        groups.append(
            {"optimizer": saved[0]["optimizer"], "settings": {}, "parameters": [entries[name] for name in mine]}
        )
    return groups
