"""How help pages look: the parser's own pages, with a first column wide enough for our longest flag at 80 columns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from cyclopts.help import DefaultFormatter

NAME_COLUMN = 32

Json = Annotated[bool, Parameter(name="--json", negative=(), show_default=False, help="Print JSON.")]
"""The flag of every verb whose output a program may read."""

Model = Annotated[
    str,
    Parameter(
        name="MODEL",
        help="A run, a checkpoint (RUN/best, RUN/step-500), or any Hugging Face folder of a supported architecture.",
    ),
]
"""The argument of every verb that uses a model."""


def _is_place(kind: Any, value: Any) -> None:
    from textmill.config.values import place

    if value is not None:
        place(value)


Output = Annotated[Path, Parameter(name="--output", validator=_is_place)]
"""Where a verb writes: a path that a file system can hold."""


def formatter() -> DefaultFormatter:
    """Return the formatter of all help pages."""
    from cyclopts.help import ColumnSpec, DefaultFormatter, DescriptionRenderer, NameRenderer

    def columns(console: Any, options: Any, entries: Any) -> tuple[ColumnSpec, ...]:
        return (
            ColumnSpec(
                renderer=NameRenderer(max_width=NAME_COLUMN),
                style="cyclopts.name",
                max_width=NAME_COLUMN,
                overflow="fold",
            ),
            ColumnSpec(renderer=DescriptionRenderer(newline_metadata=False), overflow="fold"),
        )

    return DefaultFormatter(column_specs=columns)
