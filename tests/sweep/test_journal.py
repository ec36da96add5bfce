"""The journal of a sweep: what its end may look like after a power failure, and what is damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from textmill.errors import DataError
from textmill.sweep.journal import CheckedJournal


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A journal of three lines."""
    path = tmp_path / "journal.log"
    CheckedJournal(path).append_logs([{"op_code": number} for number in range(3)])
    return path


@pytest.mark.parametrize("zeros", [slice(-30, -5), slice(-1, None)])
def test_a_last_line_that_was_not_flushed_whole_is_dropped(journal: Path, zeros: slice) -> None:
    """Some of its blocks may be zeros, its end among them: the next line takes its place."""
    before = journal.read_bytes()
    torn = bytearray(before)
    torn[zeros] = bytes(len(torn[zeros]))
    journal.write_bytes(torn)
    again = CheckedJournal(journal)
    assert list(again.read_logs(0)) == [{"op_code": 0}, {"op_code": 1}]
    again.append_logs([{"op_code": 2}])
    assert journal.read_bytes() == before


def test_zeros_after_the_last_line_are_dropped(journal: Path) -> None:
    """A file that has grown, and whose new blocks were not written."""
    with journal.open("ab") as file:
        file.write(bytes(20) + b"\n")
    assert len(list(CheckedJournal(journal).read_logs(0))) == 3


def test_an_earlier_line_or_another_value_is_damage(journal: Path) -> None:
    """Lines before the last were flushed before it was written."""
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(lines[0] + bytes(10) + b"\n" + lines[2])
    with pytest.raises(DataError, match="line 2, has changed"):
        CheckedJournal(journal)
    journal.write_bytes(lines[0] + lines[1] + lines[2].replace(b"2", b"3", 1))
    with pytest.raises(DataError, match="line 3, has changed"):
        CheckedJournal(journal)
