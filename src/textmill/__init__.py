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
    from textmill.training import Trainer, load_checkpoint, periodic_actions, save, steps, train, train_model
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
    "periodic_actions",
    "prepare",
    "save",
    "steps",
    "train",
    "train_model",
]

__getattr__ = lazy_attributes(
    __name__,
    {
        "config": [
            "Config",
            "DataConfig",
            "ModelConfig",
            "TokenizerConfig",
            "TrackingConfig",
            "TrainingConfig",
            "load_config",
        ],
        "data": ["TextDataset"],
        "data.prepare": ["prepare"],
        "model": ["build_model"],
        "evaluation": ["evaluate"],
        "generation": ["generate", "generate_text"],
        "training": ["Trainer", "load_checkpoint", "periodic_actions", "save", "steps", "train", "train_model"],
        "training.assemble": ["assemble"],
    },
)


def __dir__() -> list[str]:
    return __all__
