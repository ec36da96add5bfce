"""Tables stored by column: Parquet, and the Arrow files that Hugging Face datasets use."""

from collections.abc import Iterator
from itertools import repeat
from typing import Any, BinaryIO

from textmill.data.reading.document import Document, Reading
from textmill.data.reading.formats.jsonl import WITHOUT_TEXT
from textmill.data.sources.findings import Notes
from textmill.data.sources.text_columns import TextColumns
from textmill.errors import DataError, listed
from textmill.imports import optional

_ROWS_AT_ONCE = 1024


def read_parquet(file: BinaryIO, name: str, reading: Reading, notes: Notes) -> Iterator[Document]:
    """Yield the text in `reading.text_column` of every row; skip and note rows without one (null).

    Only the columns of the text are read, a thousand rows at a time. Raises DataError for a missing column or one that
    is not text, the library's errors for a damaged file; MissingExtraError without pyarrow.
    """
    arrow, parquet = optional("pyarrow", f"reading {name}"), optional("pyarrow.parquet", f"reading {name}")
    table = parquet.ParquetFile(file)
    columns = _columns(arrow, table.schema_arrow, name, reading)
    read = dict.fromkeys([*columns.names, *([reading.group_column] if reading.group_column else [])])
    batches = table.iter_batches(_ROWS_AT_ONCE, columns=list(read))
    yield from _texts(batches, name, columns, reading.group_column, notes)


def read_arrow(file: BinaryIO, name: str, reading: Reading, notes: Notes) -> Iterator[Document]:
    """Yield the documents of an Arrow file, in its streaming or its random-access form; see `read_parquet`."""
    arrow = optional("pyarrow", f"reading {name}")
    in_any_order = file.read(6) == b"ARROW1"
    file.seek(0)
    if in_any_order:
        opened = arrow.ipc.open_file(file)
        batches = (opened.get_batch(number) for number in range(opened.num_record_batches))
    else:
        opened = arrow.ipc.open_stream(file)
        batches = iter(opened)
    columns = _columns(arrow, opened.schema, name, reading)
    yield from _texts(batches, name, columns, reading.group_column, notes)


def _columns(arrow: Any, schema: Any, name: str, reading: Reading) -> TextColumns:
    """Return the columns with the text. Raises DataError for one that is missing or is not text, or the group's."""
    columns = TextColumns.of(reading.text_column, schema.names)
    for column in columns.names:
        _check_column(arrow, schema, name, column)
    if reading.group_column is not None and reading.group_column not in schema.names:
        raise DataError(
            f"{name} has no column {reading.group_column!r}, it has {listed(schema.names)}: name one as --split-by "
            "field:NAME"
        )
    return columns


def _check_column(arrow: Any, schema: Any, name: str, column: str) -> None:
    if column not in schema.names:
        raise DataError(
            f"{name} has no column {column!r}, it has {listed(schema.names)}: name the column with --text-column"
        )
    kind = schema.field(column).type
    if arrow.types.is_dictionary(kind):
        kind = kind.value_type
    if not (arrow.types.is_string(kind) or arrow.types.is_large_string(kind) or arrow.types.is_string_view(kind)):
        raise DataError(f"{name}: the column {column!r} contains {kind}, not text: name another with --text-column")


def _texts(
    batches: Iterator[Any], name: str, columns: TextColumns, group: str | None, notes: Notes
) -> Iterator[Document]:
    number = 0
    for batch in batches:
        values = [batch.column(column) for column in columns.names]
        groups = repeat(None) if group is None else batch.column(group)
        for column in [*values, *([] if group is None else [groups])]:
            column.validate(full=True)  # a damaged offset would otherwise end the whole process
        for *row, its_group in zip(*values, groups):
            number += 1
            text = columns.fill([_text(value, column, name, number) for value, column in zip(row, columns.names)])
            if text is None:
                notes.add(WITHOUT_TEXT, f"{name}:{number}")
            else:
                yield Document(text, f"{name}:{number}", group=None if group is None else str(its_group))


def _text(value: Any, column: str, name: str, number: int) -> str | None:
    try:
        return value.as_py()
    except UnicodeDecodeError as error:
        raise DataError(f"{name}, row {number}: the column {column!r} is not UTF-8") from error
