"""textmill: train transformer language models from scratch on your own text.

Everything public is here and is imported when it is first used, so that `import textmill` costs nothing:

    import textmill as tm
    result = tm.train(data="book.txt", d_model=128, max_steps=500)
    print(tm.generate_text(result.output_dir, prompt="Once"))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textmill.config import Config, load_config
    from textmill.data.prepare import prepare
    from textmill.evaluation import evaluate
    from textmill.generation import generate, generate_text
    from textmill.model import build_model
    from textmill.training import steps, train
    from textmill.training.assemble import assemble

__version__ = "0.1.0"

_HOMES = {
    "Config": "config",
    "load_config": "config",
    "prepare": "data.prepare",
    "build_model": "model",
    "evaluate": "evaluation",
    "generate": "generation",
    "generate_text": "generation",
    "assemble": "training.assemble",
    "steps": "training",
    "train": "training",
}

__all__ = [
    "Config",
    "__version__",
    "assemble",
    "build_model",
    "evaluate",
    "generate",
    "generate_text",
    "load_config",
    "prepare",
    "steps",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'textmill' has no attribute {name!r}")
    return getattr(import_module(f"textmill.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
