"""A checkpoint of files that a test writes itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from textmill.checkpoint.checkpoint_store import CheckpointStore


def save(store: CheckpointStore, step: int, write: Callable[[Path], Any], **options: Any) -> Path:
    """Save a checkpoint of `step` with what `write` puts into the folder it is given; return its folder."""
    with store.saving(step, **options) as folder:
        write(folder)
    return store.path(step)
