"""Jupyter notebooks: the cells as people wrote them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from textmill.data.reading.document import Reading
from textmill.data.reading.read_documents import read_documents
from textmill.data.sources.file_selection import select_files
from textmill.data.sources.findings import Notes
from textmill.errors import DataError

CELLS: list[dict[str, Any]] = [
    {"cell_type": "markdown", "metadata": {}, "source": ["# A mill\n", "It grinds \u00f6\u17d2."]},
    {
        "cell_type": "code",
        "execution_count": 1,
        "metadata": {},
        "outputs": [{"output_type": "display_data", "data": {"image/png": "QUJD" * 9999, "text/plain": "a picture"}}],
        "source": "grain = 1\n\ngrain + 1",
    },
    {"cell_type": "code", "metadata": {}, "outputs": [], "source": []},
    {"cell_type": "raw", "metadata": {}, "source": "the end\n"},
]
TEXT = "# A mill\nIt grinds \u00f6\u17d2.\n\ngrain = 1\n\ngrain + 1\n\nthe end\n"


def write(path: Path, book: object) -> Path:
    path.write_text(json.dumps(book))
    return path


def test_cells_are_read_without_their_outputs(tmp_path: Path) -> None:
    """Lists of lines and strings, empty cells left out; how many cells had outputs is noted."""
    path = write(tmp_path / "a.ipynb", {"cells": CELLS, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    notes = Notes()
    (document,) = read_documents([path], Reading(), notes)
    assert document.text == TEXT and document.source == str(path)
    assert notes.sentences() == [f"the outputs of notebooks are left out, of 1 cells: {path}"]
    assert select_files(tmp_path).train == [path]


def test_notebooks_of_version_3(tmp_path: Path) -> None:
    """Their cells are in worksheets, and the source of code is called input."""
    old = [{**cell, "input": cell["source"]} if cell["cell_type"] == "code" else cell for cell in CELLS]
    old = [{key: value for key, value in cell.items() if key != "source" or "input" not in cell} for cell in old]
    path = write(tmp_path / "a.ipynb", {"worksheets": [{"cells": old[:2]}, {"cells": old[2:]}], "nbformat": 3})
    assert [document.text for document in read_documents([path])] == [TEXT]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"cells": 1}',
        '{"cells": [{}]}',
        '{"cells": [{"source": [1]}]}',
        r'{"cells": [{"source": "\ud800"}]}',
    ],
)
def test_what_is_no_notebook_is_refused(tmp_path: Path, content: str) -> None:
    """In one line, with what to do."""
    path = tmp_path / "a.ipynb"
    path.write_text(content)
    with pytest.raises(DataError, match=r"a\.ipynb is not a Jupyter notebook .*--format json or text"):
        list(read_documents([path]))
