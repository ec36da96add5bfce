"""Checkpoints: whole or absent, verified before use, free of pickle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textmill.checkpoint.lock import RunLock
from textmill.checkpoint.logfile import Log
from textmill.checkpoint.publish import publish
from textmill.checkpoint.store import CheckpointStore

if TYPE_CHECKING:
    from textmill.checkpoint.optimizer import flatten_optimizer, restore_optimizer
    from textmill.checkpoint.tensors import load_tensors, refuse_non_finite, save_tensors

__all__ = [
    "CheckpointStore",
    "Log",
    "RunLock",
    "flatten_optimizer",
    "load_tensors",
    "publish",
    "refuse_non_finite",
    "restore_optimizer",
    "save_tensors",
]


def __getattr__(name: str) -> Any:
    """Import what needs torch only when it is asked for."""
    if name in ("flatten_optimizer", "restore_optimizer"):
        from textmill.checkpoint import optimizer as module
    elif name in ("load_tensors", "refuse_non_finite", "save_tensors"):
        from textmill.checkpoint import tensors as module
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(module, name)
