"""How help pages look: the parser's own pages, with a first column wide enough for our longest flag at 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclopts.help import DefaultFormatter

NAME_COLUMN = 32


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
