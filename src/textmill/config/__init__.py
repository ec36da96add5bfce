"""The vocabulary of a run: every setting, its type, its default and its other spellings. Imports without torch."""

from textmill.config.merge_layers import load_config
from textmill.config.model_shape import ModelConfig
from textmill.config.presets import PRESETS, choose_preset
from textmill.config.run_config import Config, DataConfig, TokenizerConfig, TrackingConfig, TrainingConfig

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
