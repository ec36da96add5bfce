"""Every setting with its type, default and help text, behaviour is in `section.py`."""

from textmill.config.field_types import Fields
from textmill.config.fields.data import DataFields, TokenizerFields
from textmill.config.fields.model import ModelFields
from textmill.config.fields.training import TrackingFields, TrainingFields

SECTIONS: dict[str, type[Fields]] = {
    "data": DataFields,
    "tokenizer": TokenizerFields,
    "model": ModelFields,
    "training": TrainingFields,
    "tracking": TrackingFields,
}
"""The sections by name, in the order in which they are shown and saved."""
