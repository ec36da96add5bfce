"""The vocabulary of a run: every setting, its type, its default and its other spellings. Imports without torch."""

from textmill.config.fields.data import DataConfig, TokenizerConfig
from textmill.config.fields.model import ModelConfig
from textmill.config.fields.tracking import TrackingConfig
from textmill.config.fields.training import TrainingConfig
from textmill.config.merge import load_config
from textmill.config.presets import PRESETS, choose_preset
from textmill.config.tree import Config

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
