"""The vocabulary of a run: every setting, its type, its default and its other spellings. Imports without torch."""

from textmill.config.data import DataConfig, TokenizerConfig
from textmill.config.model import ModelConfig
from textmill.config.tracking import TrackingConfig
from textmill.config.training import TrainingConfig

__all__ = ["DataConfig", "ModelConfig", "TokenizerConfig", "TrackingConfig", "TrainingConfig"]
