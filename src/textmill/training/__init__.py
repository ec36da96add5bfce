"""Training: opening and starting a run, the loop, saving, reporting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textmill.imports import lazy_attributes

if TYPE_CHECKING:
    from textmill.training.load_for_own_loop import load_checkpoint
    from textmill.training.loop import periodic_actions, steps
    from textmill.training.result import TrainingResult
    from textmill.training.run import Run
    from textmill.training.saving import save
    from textmill.training.trainer import Trainer, train, train_model

__all__ = [
    "Run",
    "Trainer",
    "TrainingResult",
    "load_checkpoint",
    "periodic_actions",
    "save",
    "steps",
    "train",
    "train_model",
]

__getattr__ = lazy_attributes(
    __name__,
    {
        "run": ["Run"],
        "trainer": ["Trainer", "train", "train_model"],
        "result": ["TrainingResult"],
        "load_for_own_loop": ["load_checkpoint"],
        "saving": ["save"],
        "loop": ["periodic_actions", "steps"],
    },
)
