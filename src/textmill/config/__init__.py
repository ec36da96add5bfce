"""The vocabulary of a run: every setting, its type, its default and its other spellings. Imports without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textmill.config.merge_layers import load_config
from textmill.config.model_shape import ModelConfig
from textmill.config.presets import choose_preset
from textmill.config.run_config import Config, DataConfig, TokenizerConfig, TrackingConfig, TrainingConfig
from textmill.imports import lazy_attributes

if TYPE_CHECKING:
    from textmill.config.presets import Preset

    PRESETS: dict[str, Preset]

__all__ = [
    "PRESETS",
    "Config",
    "DataConfig",
    "ModelConfig",
    "TokenizerConfig",
    "TrackingConfig",
    "TrainingConfig",
    "choose_preset",
    "load_config",
]

__getattr__ = lazy_attributes(__name__, {"presets": ["PRESETS"]})
