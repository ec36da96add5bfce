"""Checkpoints: complete or absent, verified before use, without pickle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textmill.checkpoint.best_and_final import link_model
from textmill.checkpoint.checkpoint_store import CheckpointStore
from textmill.imports import lazy_attributes
from textmill.runs.log_file import Log
from textmill.runs.run_lock import RunLock

if TYPE_CHECKING:
    from textmill.checkpoint.optimizer_state import flatten_optimizer, restore_optimizer
    from textmill.checkpoint.safetensors_files import load_tensors, refuse_non_finite, save_tensors

__all__ = [
    "CheckpointStore",
    "Log",
    "RunLock",
    "flatten_optimizer",
    "link_model",
    "load_tensors",
    "refuse_non_finite",
    "restore_optimizer",
    "save_tensors",
]

__getattr__ = lazy_attributes(
    __name__,
    {
        "optimizer_state": ["flatten_optimizer", "restore_optimizer"],
        "safetensors_files": ["load_tensors", "refuse_non_finite", "save_tensors"],
    },
)
