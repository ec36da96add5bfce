"""A model that code of the user builds, by the name of that code: `package.module:attribute`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from textmill.config import ModelConfig
from textmill.errors import ConfigError
from textmill.imports import resolve_callable


@dataclass(frozen=True)
class OwnModel:
    """What a model folder records of a model that its configuration does not describe.

    name: its class, and what was changed (see `name_of_own`). builder: the import string of what built it, with the
    shape that it was called with; None for a model that was given as an object.
    """

    name: str
    builder: str | None = None
    shape: ModelConfig | None = None


def import_model(builder: str | Callable[[ModelConfig], Any], shape: ModelConfig, *, seed: int) -> nn.Module:
    """Return the module that `builder`, a callable or the import string of one, makes of a shape.

    It is built on the CPU after the global random state was set by `seed`, which is restored afterwards. A copy of the
    shape is passed, with every value settled.

    Raises:
        ConfigError: it cannot be imported, fails, or returns no module.
    """
    build = resolve_callable(builder) if isinstance(builder, str) else builder
    name = builder if isinstance(builder, str) else getattr(builder, "__qualname__", repr(builder))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model = build(shape.resolved())
        except ConfigError:
            raise
        except Exception as error:  # whatever the code of the user raises
            raise ConfigError(
                f"{name} failed: {type(error).__name__}: {error}; it is called with the shape, a ModelConfig"
            ) from error
    if not isinstance(model, nn.Module):
        raise ConfigError(f"{name} returned {type(model).__name__}: it must return a torch.nn.Module")
    return model
