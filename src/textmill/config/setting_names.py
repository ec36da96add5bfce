"""Which leaf belongs to which section, and the check of one value. Every leaf name is unique in the whole tree."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, get_args

from pydantic import TypeAdapter, ValidationError

from textmill.config.values import show
from textmill.errors import ConfigError

if TYPE_CHECKING:
    from textmill.config.section import Section

SECTIONS = ("data", "tokenizer", "model", "training", "tracking")
"""The sections in the order in which they are shown and dumped."""


@cache
def sections() -> dict[str, type[Section]]:
    """Return the class of every section."""
    from textmill.config.fields.data import DataConfig, TokenizerConfig
    from textmill.config.fields.model import ModelConfig
    from textmill.config.fields.tracking import TrackingConfig
    from textmill.config.fields.training import TrainingConfig

    classes = (DataConfig, TokenizerConfig, ModelConfig, TrainingConfig, TrackingConfig)
    return dict(zip(SECTIONS, classes, strict=True))


@cache
def _homes() -> dict[str, str]:
    return {leaf: name for name, section in sections().items() for leaf in section.model_fields}


def section_of(leaf: str) -> str | None:
    """Return the name of the section that holds the canonical name `leaf`, or None."""
    return _homes().get(leaf)


def is_list(leaf: str) -> bool:
    """Return whether a leaf holds a list."""
    return "list[" in str(sections()[_homes()[leaf]].model_fields[leaf].annotation)


def is_switch(leaf: str) -> bool:
    """Return whether a leaf is true or false, or something that may stand for it."""
    annotation = sections()[_homes()[leaf]].model_fields[leaf].annotation
    return annotation is bool or bool in get_args(annotation)


@cache
def _validator(leaf: str) -> TypeAdapter[Any]:
    field = sections()[_homes()[leaf]].model_fields[leaf]
    kind: Any = field.annotation
    for constraint in field.metadata:
        kind = Annotated[kind, constraint]
    return TypeAdapter(kind)


def validate(leaf: str, value: Any, place: str) -> Any:
    """Return `value` as the leaf holds it.

    Raises:
        ConfigError: the leaf does not take it; the message begins with `place`.
    """
    try:
        return _validator(leaf).validate_python(value)
    except ValidationError as error:
        raise ConfigError(f"{place}: {_sentence(error, value)}") from None


def _sentence(error: ValidationError, value: Any) -> str:
    """Return the first complaint of pydantic as the rest of a sentence that names the value."""
    first = error.errors(include_url=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return message
    for long, short in (("greater than or equal to", "at least"), ("less than or equal to", "at most")):
        message = message.replace(long, short)
    return f"{message.replace('Input should be', 'must be')}, not {show(value)}"
