"""Whether a model is what its configuration describes: one that was changed afterwards must not pass for it."""

from itertools import chain
from typing import Any

import torch
from torch import nn

from textmill.config import ModelConfig
from textmill.model.decoder import Decoder
from textmill.model.from_config import empty_model

_MOST_NAMED = 3
"""Differences that a name lists."""

_OF_TORCH = {*vars(nn.Module()), "_compiled_call_impl"}
"""Attributes in which torch keeps a module's parts, hooks and mode, and what it compiled."""


def name_of_own(model: nn.Module) -> str | None:
    """Return None for a model that is exactly what its ModelConfig describes, else its class, and what was changed.

    Compared are the classes of all modules, their attributes (numbers, functions), and names and shapes of weights and
    buffers. Hooks are not: they may only watch. Nor are attributes that only this model has, such as a label: its own
    code reads none of them.
    """
    config = getattr(model, "config", None)
    if not isinstance(config, ModelConfig) or not isinstance(model, Decoder):
        return type(model).__name__
    with torch.device("meta"):
        described = empty_model(config)
    if type(model) is not type(described):
        return type(model).__name__
    changed = list(dict.fromkeys(_differences(model, described)))
    if not changed:
        return None
    more = f" and {len(changed) - _MOST_NAMED} more" if len(changed) > _MOST_NAMED else ""
    return f"{type(model).__name__} with changes in {', '.join(changed[:_MOST_NAMED])}{more}"


def _differences(model: nn.Module, described: nn.Module) -> list[str]:
    """Return the names of modules, attributes and weights in which the two differ."""
    mine, theirs = dict(model.named_modules()), dict(described.named_modules())
    found = [name for name in {**mine, **theirs} if type(mine.get(name)) is not type(theirs.get(name))]
    for name in mine.keys() & theirs.keys() - set(found):
        found += [f"{name}.{each}".lstrip(".") for each in _changed_attributes(mine[name], theirs[name])]
    shapes, expected = _shapes(model), _shapes(described)
    found += [name for name in {**shapes, **expected} if shapes.get(name) != expected.get(name)]
    return sorted(found)


def _shapes(model: nn.Module) -> dict[str, torch.Size]:
    """Return the shapes of weights and buffers by name."""
    return {name: each.shape for name, each in chain(model.named_parameters(), model.named_buffers())}


def _changed_attributes(module: nn.Module, described: nn.Module) -> list[str]:
    mine, theirs = _attributes(module), _attributes(described)
    read = [name for name in mine if name in theirs or hasattr(described, name)]  # others have no reader
    return [name for name in {**dict.fromkeys(read), **theirs} if not _same(mine.get(name), theirs.get(name))]


def _attributes(module: nn.Module) -> dict[str, Any]:
    """Return the plain attributes of a module: not its weights and modules, and not what torch keeps in it."""
    return {name: value for name, value in vars(module).items() if name not in _OF_TORCH}


def _same(mine: Any, theirs: Any) -> bool:
    if isinstance(mine, ModelConfig) and isinstance(theirs, ModelConfig):
        return mine.values() == theirs.values()
    if isinstance(mine, torch.Tensor) and isinstance(theirs, torch.Tensor):
        return mine.shape == theirs.shape
    return mine is theirs or (type(mine) is type(theirs) and bool(mine == theirs))
