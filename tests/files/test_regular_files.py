"""What is no regular file is an error, and nothing waits for it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from textmill.errors import DataError
from textmill.files import read_bytes, read_json, read_rows, read_text
from textmill.files.regular_files import NotAFileError, open_regular


@pytest.fixture(autouse=True)
def _in_time() -> Iterator[None]:
    """End the process if it waits."""
    signal.alarm(20)
    yield
    signal.alarm(0)


def put(path: Path, kind: str) -> Path:
    """Put something that is no file at `path`."""
    if kind == "a named pipe":
        os.mkfifo(path)
    elif kind == "a socket":
        with socket.socket(socket.AF_UNIX) as made:
            here = Path.cwd()
            os.chdir(path.parent)  # a socket's path may have 100 characters
            made.bind(path.name)
            os.chdir(here)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    return path


@pytest.mark.parametrize("kind", ["a named pipe", "a socket", "a device", "a folder"])
def test_what_is_no_file(tmp_path: Path, kind: str) -> None:
    """It is named as what it is, by every way to read a file."""
    path = put(tmp_path / "thing", kind)
    for read in (open_regular, read_bytes, read_text):
        with pytest.raises(NotAFileError, match=f"it is {kind} and not a file"):
            read(path)
    with pytest.raises(DataError, match=rf"{path} cannot be read as JSON: it is {kind} and not a file"):
        read_json(path)
    with pytest.raises(DataError, match=f"{path} is {kind} and not a file"):
        list(read_rows(path))
    told: list[str] = []
    assert list(read_rows(path, on_damage=told.append)) == []
    assert told == [f"{path} is {kind} and not a file"]


def test_a_regular_file(tmp_path: Path) -> None:
    """All of it, or as much as was asked for; text with any line ends."""
    (tmp_path / "file").write_bytes(b"one\r\ntwo\rthree")
    assert read_bytes(tmp_path / "file") == b"one\r\ntwo\rthree"
    assert read_bytes(tmp_path / "file", 4) == b"one\r"
    assert read_text(tmp_path / "file") == "one\ntwo\nthree"
    (tmp_path / "link").symlink_to("file")
    with open_regular(tmp_path / "link") as file:
        assert file.read() == b"one\r\ntwo\rthree"
