"""textmill: train transformer language models from scratch on your own text.

Everything public is here and is imported when it is first used, so that `import textmill` costs nothing:

    import textmill as tm
    result = tm.train(data="book.txt", d_model=128, max_steps=500)
    print(tm.generate_text(result.output_dir, prompt="Once"))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from textmill.imports import lazy_attributes
from textmill.version import VERSION

if TYPE_CHECKING:
    from textmill.config import (
        Config,
        DataConfig,
        ModelConfig,
        TokenizerConfig,
        TrackingConfig,
        TrainingConfig,
        load_config,
    )
    from textmill.data import TextDataset
    from textmill.data.prepare import prepare
    from textmill.evaluation import evaluate
    from textmill.generation import generate, generate_text
    from textmill.model import build_model
    from textmill.training import Trainer, load_checkpoint, save, steps, train, train_model
    from textmill.training.assemble import assemble

__version__ = VERSION

__all__ = [
    "Config",
    "DataConfig",
    "ModelConfig",
    "TextDataset",
    "TokenizerConfig",
    "TrackingConfig",
    "Trainer",
    "TrainingConfig",
    "__version__",
    "assemble",
    "build_model",
    "evaluate",
    "generate",
    "generate_text",
    "load_checkpoint",
    "load_config",
    "prepare",
    "save",
    "steps",
    "train",
    "train_model",
]

__getattr__ = lazy_attributes(
    __name__,
    {
        "Config": "config",
        "DataConfig": "config",
        "ModelConfig": "config",
        "TokenizerConfig": "config",
        "TrackingConfig": "config",
        "TrainingConfig": "config",
        "load_config": "config",
        "TextDataset": "data",
        "prepare": "data.prepare",
        "build_model": "model",
        "evaluate": "evaluation",
        "generate": "generation",
        "generate_text": "generation",
        "Trainer": "training",
        "assemble": "training.assemble",
        "load_checkpoint": "training",
        "save": "training",
        "steps": "training",
        "train": "training",
        "train_model": "training",
    },
)


def __dir__() -> list[str]:
    return __all__
