"""A log holds whole rows only, and after a resume exactly those that the checkpoint knew."""

from __future__ import annotations

import math
import resource
import signal
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from support.disk_faults import in_child
from textmill.errors import CannotWriteError, DataError
from textmill.files import read_rows
from textmill.runs.log_file import Log


def test_a_row_is_one_line_that_others_can_read_at_once(tmp_path: Path) -> None:
    """Appended rows are in the file before the log is closed."""
    path = tmp_path / "logs" / "metrics.jsonl"
    with closing(Log(path, say=print)) as log:
        assert log.offset == 0
        log.append({"step": 1, "text": "zwei\nZeilen ü"})
        assert path.read_text("utf-8") == '{"step": 1, "text": "zwei\\nZeilen ü"}\n'
        log.append({"step": 2})
        assert log.offset == path.stat().st_size == log.sync()
    assert list(read_rows(path)) == [{"step": 1, "text": "zwei\nZeilen ü"}, {"step": 2}]


def test_numbers_that_json_lacks_are_null_and_foreign_numbers_plain(tmp_path: Path) -> None:
    """NaN, infinities, NumPy and torch scalars, nested too."""
    with closing(Log(tmp_path / "log", say=print)) as log:
        log.append({"a": math.nan, "b": [math.inf, -math.inf, 1.5], "c": {"d": np.float32(0.5), "e": np.int64(3)}})
        log.append({"t": torch.tensor(2.5), "n": torch.tensor(math.nan), "p": Path("x"), "yes": True})
    assert list(read_rows(tmp_path / "log")) == [
        {"a": None, "b": [None, None, 1.5], "c": {"d": 0.5, "e": 3}},
        {"t": 2.5, "n": None, "p": "x", "yes": True},
    ]


@given(
    rows=st.lists(
        st.dictionaries(st.text(max_size=5), st.floats() | st.integers() | st.text(max_size=5), max_size=4), max_size=8
    ),
    cut=st.integers(0, 400),
)
def test_a_file_cut_anywhere_opens_with_its_whole_lines(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, float | int | str]], cut: int
) -> None:
    """Whatever a crash leaves of the last line is gone, every line before it stays, and the log can be gone on with."""
    path = tmp_path_factory.mktemp("log") / "log"
    with closing(Log(path, say=print)) as log:
        for row in rows:
            log.append(row)
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    with closing(Log(path, say=print)) as log:
        kept = whole[: whole[:cut].rfind(b"\n") + 1]
        assert path.read_bytes() == kept
        assert log.offset == len(kept)
        log.append({"after": 1})
    assert path.read_bytes() == kept + b'{"after": 1}\n'


def test_a_very_long_torn_line_is_cut_off(tmp_path: Path) -> None:
    """The search for the last newline goes back further than one block."""
    (tmp_path / "log").write_bytes(b'{"a": 1}\n' + b"x" * 200_000)
    with closing(Log(tmp_path / "log", say=print)) as log:
        assert log.offset == 9


def test_after_truncation_the_log_equals_the_uninterrupted_one(tmp_path: Path) -> None:
    """Rows newer than the checkpoint are written again, byte for byte."""
    with closing(Log(tmp_path / "golden", say=print)) as log:
        for step in range(10):
            log.append({"step": step, "loss": 1 / (step + 1)})
    with closing(Log(tmp_path / "log", say=print)) as log:
        for step in range(7):
            log.append({"step": step, "loss": 1 / (step + 1)})
            if step == 4:
                offset = log.sync()
    with closing(Log(tmp_path / "log", say=print)) as log:
        log.truncate(offset)
        for step in range(5, 10):
            log.append({"step": step, "loss": 1 / (step + 1)})
    assert (tmp_path / "log").read_bytes() == (tmp_path / "golden").read_bytes()


def test_truncation_never_cuts_a_line_in_two_and_says_what_is_missing(tmp_path: Path) -> None:
    """An offset inside a line falls back to its start; one beyond the end is said."""
    said: list[str] = []
    with closing(Log(tmp_path / "log", say=said.append)) as log:
        log.append({"a": 1})
        log.append({"b": 2})
        log.truncate(12)
        assert (tmp_path / "log").read_bytes() == b'{"a": 1}\n'
        log.truncate(100)
        assert (tmp_path / "log").read_bytes() == b'{"a": 1}\n'
        log.truncate(0)
        assert (tmp_path / "log").read_bytes() == b""
    assert said == [f"{tmp_path / 'log'} has lost its last 91 bytes: only rows of this log are missing"]


def test_a_full_disk_stops_no_run_and_loses_no_row_if_room_comes_back(tmp_path: Path) -> None:
    """Refused rows wait and are written in order; the trouble is said once; no half row is left meanwhile."""

    def log_on_a_full_disk() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        path = tmp_path / "log"
        said: list[str] = []
        log = Log(path, say=said.append)
        log.append({"step": 0})
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (15, hard))
        for step in range(1, 4):
            log.append({"step": step})
            assert path.read_bytes() == b'{"step": 0}\n'
            assert log.offset == 12
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        log.append({"step": 4})
        log.close()
        assert [row["step"] for row in read_rows(path)] == [0, 1, 2, 3, 4]
        assert said == [f"cannot write {path} (File too large): its rows are kept in memory for now"]

    assert in_child(log_on_a_full_disk) == 0


def test_rows_given_up_at_the_end_are_said(tmp_path: Path) -> None:
    """Silence would be a loss."""

    def log_on_a_full_disk() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        said: list[str] = []
        log = Log(tmp_path / "log", say=said.append)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5, 5))
        log.append({"step": 1})
        log.append({"step": 2})
        log.close()
        log.close()
        assert said[1:] == [f"the last 2 rows of {tmp_path / 'log'} are lost: they could not be written"]

    assert in_child(log_on_a_full_disk) == 0


def test_a_log_that_cannot_be_opened_is_exit_73(tmp_path: Path) -> None:
    """A folder stands where the file should be."""
    (tmp_path / "log").mkdir()
    with pytest.raises(CannotWriteError) as caught:
        Log(tmp_path / "log", say=print)
    assert caught.value.exit_code == 73


def test_reading_leaves_out_the_line_being_written_and_names_a_damaged_one(tmp_path: Path) -> None:
    """A reader beside a running process sees whole rows; damage is an error with the line's number."""
    path = tmp_path / "log"
    assert list(read_rows(path)) == []
    path.write_bytes(b'{"a": 1}\n{"b"')
    assert list(read_rows(path)) == [{"a": 1}]
    for damaged in (b'{"a": 1}\n{"b"\n', b'{"a": 1}\n[1]\n'):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="line 2"):
            list(read_rows(path))


def test_a_closed_log_holds_no_descriptor(tmp_path: Path) -> None:
    """Opening and closing many logs leaks nothing."""
    before = len(list(Path("/dev/fd").iterdir()))
    for _ in range(50):
        Log(tmp_path / "log", say=print).close()
    assert len(list(Path("/dev/fd").iterdir())) == before
