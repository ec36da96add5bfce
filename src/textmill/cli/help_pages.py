"""How help pages look: the parser's own pages, with a first column wide enough for our longest flag at 80 columns.

The text of a page is the docstring of its verb: what it is for, and under `Examples` commands to try.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from textmill.config.setting_lookup import setting_names
from textmill.console.standard_streams import colors

if TYPE_CHECKING:
    from cyclopts import App, Argument
    from cyclopts.help import DefaultFormatter
    from rich.console import Console

NAME_COLUMN = 32

_VALUES = {"INT": "N", "FLOAT": "X", "STR": "TEXT", "CHOICE": "NAME"}
"""The parser's words for kinds of values -> ours, which the settings of a run have too."""

Json = Annotated[bool, Parameter(name="--json", negative=(), show_default=False, help="Print JSON.")]
"""The flag of every verb whose output a program may read."""

Builder = Annotated[
    str | None,
    Parameter(
        name="--model",
        metavar="NAME",
        show_default=False,
        help="Code that builds a model which its configuration does not describe: package.module:attribute.",
    ),
]
"""The flag of verbs that load a model."""

Model = Annotated[
    str | Path,
    Parameter(
        name="MODEL",
        help="A run, a checkpoint (RUN/best, RUN/step-500), or any Hugging Face folder of a supported architecture.",
    ),
]
"""The argument of every verb that uses a model."""


Device = Annotated[
    str | Literal["auto", "cpu", "cuda", "mps"],
    Parameter(help="auto, cpu, cuda, cuda:N or mps.", metavar="NAME", show_choices=False),
]
"""The flag of every verb that computes."""

TextColumn = Annotated[
    str, Parameter(help="Field with the text in JSON Lines, CSV and Parquet: name, number or '{title}: {body}'.")
]
"""The flag of every verb that reads text and takes none of the settings of a run."""

RunsTextColumn = Annotated[
    str | None,
    Parameter(
        show_default=False, help="Field with the text in JSON Lines, CSV and Parquet. Unset: that of the run, or text."
    ),
]
RunsSeparator = Annotated[
    str | None,
    Parameter(
        show_default=False,
        help="What ends a document in plain text; none: nothing. Unset: that of the run, or lines <|endoftext|>.",
    ),
]
RunsNewlines = Annotated[
    str | None,
    Parameter(
        show_default=False,
        help="Windows line ends of plain text: lf (read as line feeds) or keep. Unset: as the run, or lf.",
    ),
]
"""The flags of a verb that reads text as a run did."""

FileFormat = Annotated[
    str | None,
    Parameter(
        name="--format",
        show_default=False,
        help="What the files are, whatever their names: text, jsonl, json, csv, tsv, parquet ... Unset: by extension.",
    ),
]
Encoding = Annotated[
    str, Parameter(help="Encoding of plain text, JSON, tables and subtitles, such as latin-1, cp1252 or utf-16.")
]
"""The flags of the same verbs that say what the files are."""


def _check_path(kind: Any, value: Any) -> None:
    from textmill.config.field_types import path

    if value is not None:
        path(value)


Output = Annotated[Path, Parameter(name="--output", validator=_check_path)]
"""Where a verb writes: a path that a file system accepts."""

CacheDir = Annotated[
    Path | None,
    Parameter(
        name="--cache-dir",
        help="Cache folder for prepared text. Unset: the user's cache folder.",
        show_default=False,
        validator=_check_path,
    ),
]
"""The flag of every verb that prepares text and takes none of the settings of a run."""


def formatter() -> DefaultFormatter:
    """Return the formatter of all help pages."""
    from cyclopts.help import ColumnSpec, DefaultFormatter, DescriptionRenderer, NameRenderer

    shown = NameRenderer(max_width=NAME_COLUMN)

    def names(entry: Any) -> str:
        return re.sub(r"(?<= )[A-Z]+\b", lambda word: _VALUES.get(word[0], word[0]), str(shown(entry)))

    def columns(console: Any, options: Any, entries: Any) -> tuple[ColumnSpec, ...]:
        return (
            ColumnSpec(
                renderer=names,
                style="cyclopts.name",
                max_width=NAME_COLUMN,
                overflow="fold",
            ),
            ColumnSpec(renderer=DescriptionRenderer(newline_metadata=False), overflow="fold"),
        )

    return DefaultFormatter(column_specs=columns)


def console() -> Console:
    """Return the console of help pages. A reader who has seen enough ends the program as after any other output."""
    from rich.console import Console

    class HelpConsole(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return HelpConsole(color_system=colors())


def complete(app: App, chain: Sequence[str], *, everything: bool) -> None:
    """Give the page of the verb `chain` all of its docstring: how it is called, what it does, examples at the end.

    Of a verb that takes all settings of a run, the page has the essential ones, unless it is to have `everything`.
    """
    from docstring_parser import parse

    from textmill.cli.setting_flags import ESSENTIAL, settings_of, with_flags_for

    if app.default_command is None:
        return
    others = settings_of(app.default_command).intersection(setting_names()).difference(ESSENTIAL, {"data"})
    short = len(others) > len(ESSENTIAL) and not everything
    # To look at the other flags would take longer than all else.
    named = ESSENTIAL if short else settings_of(app.default_command)
    app.default_command = with_flags_for(app.default_command, named)
    text = parse(inspect.getdoc(app.default_command) or "")
    shown = [argument for argument in app.assemble_argument_collection() if argument.parse and argument.show]
    app.usage = f"Usage: {' '.join(['textmill', *chain, *_call(shown)])}"
    paragraphs = [text.short_description or "", *(text.long_description or "").split("\n\n")]
    app.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs if paragraph)
    lines = [line for example in text.examples for line in (example.description or "").splitlines()]
    app.help_epilogue = "\n  ".join(["Examples:", *lines]) if lines else ""
    if short:
        app.help_epilogue += f"\n\n{' '.join(['textmill', *chain])} --help-all explains {len(others)} more flags."


def _call(shown: Sequence[Argument]) -> list[str]:
    """Return what stands behind a verb: its arguments, the flags that it needs, and whether there are others."""
    arguments: list[str] = []
    needed: list[str] = []
    options: list[str] = []
    for argument in shown:
        name = argument.name
        if name.startswith("--"):
            if argument.required:
                needed += [name, "PATH" if "Path" in str(argument.hint) else "TEXT"]
            else:
                options = ["[OPTIONS]"]
            continue
        name += "..." if argument.field_info.kind is inspect.Parameter.VAR_POSITIONAL else ""
        arguments.append(name if argument.required else f"[{name}]")
    return [*arguments, *needed, *options]
