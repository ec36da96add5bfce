"""Names and handles of network file systems: what is repeated, what counts as done, what is waited for."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

import pytest

from support.network_disks import open_files_stay
from textmill.errors import CannotWriteError, StaleFileError
from textmill.files import cannot_write, retry_stale, stale_names, wait_until_seen, write_text
from textmill.files.stale_names import remove_tree, rename


class Failing:
    """Fails so many times, and then returns the number of calls."""

    def __init__(self, times: int, number: int = errno.ESTALE) -> None:
        self.times, self.number, self.calls = times, number, 0

    def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self.times:
            raise OSError(self.number, os.strerror(self.number))
        return self.calls


def test_three_repetitions() -> None:
    """ESTALE three times is survived, a fourth is raised, and other errors are raised at once."""
    assert retry_stale(Failing(3)) == 4
    with pytest.raises(OSError, match="Stale file handle"):
        retry_stale(Failing(4))
    act = Failing(1, errno.EACCES)
    with pytest.raises(PermissionError):
        retry_stale(act)
    assert act.calls == 1


def test_what_was_repeated_in_vain_is_not_repeated_further_out(tmp_path: Path) -> None:
    """Four calls in all, not sixteen, also when the error is one of writing by then."""
    act = Failing(100)

    def write() -> None:
        try:
            retry_stale(act)
        except OSError as error:
            raise cannot_write(tmp_path, error) from error

    with pytest.raises(StaleFileError):
        retry_stale(write)
    assert act.calls == 4


def test_a_file_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ESTALE while a file is flushed: all of it is written again; for ever: 74, and the old content stays."""
    write_text(tmp_path / "file", "old")
    left, fsync = [2], os.fsync

    def flush(descriptor: int) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", flush)
    write_text(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "new"
    left[0] = 1000
    with pytest.raises(StaleFileError, match=r"cannot write .*file: Stale file handle") as caught:
        write_text(tmp_path / "file", "newer")
    assert caught.value.exit_code == 74
    assert isinstance(caught.value, CannotWriteError)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["new"]


def test_a_rename_whose_answer_was_lost_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server renamed, the client asked again and was told that there is no such file: no error. Else there is."""
    (tmp_path / "a").write_text("content")
    real = os.rename

    def rename_twice(source: Path, target: Path) -> None:
        real(source, target)
        real(source, target)

    monkeypatch.setattr(os, "replace", rename_twice)
    rename(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "content"
    monkeypatch.setattr(os, "replace", lambda source, target: real(tmp_path / "absent", target))
    with pytest.raises(FileNotFoundError):
        rename(tmp_path / "b", tmp_path / "c")


def test_a_folder_with_an_open_file(tmp_path: Path) -> None:
    """What is deleted and open stays, without an error and without a wait; the rest is gone."""
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    for name in ("a", "sub/b", "c"):
        (folder / name).write_text(name)
    started = time.monotonic()
    with open_files_stay(tmp_path), (folder / "sub/b").open():
        remove_tree(folder)
        assert [path.name[:4] for path in folder.rglob("*")] == ["sub", ".nfs"]
    assert time.monotonic() - started < sum(stale_names.WAITS)
    remove_tree(folder)
    assert not folder.exists()


def test_a_folder_that_is_filled_while_it_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing that lacked a file: ENOTEMPTY, and deleting is repeated."""
    folder = tmp_path / "folder"
    folder.mkdir()
    real, first = os.rmdir, [True]

    def rmdir(name: str, **options: int) -> None:
        if first.pop() if first else False:
            (folder / "late").write_text("")
        real(name, **options)

    monkeypatch.setattr(os, "rmdir", rmdir)
    remove_tree(folder)
    assert not folder.exists()


def test_waiting_for_what_another_process_made(tmp_path: Path) -> None:
    """It returns when the file is there, and raises a sentence with exit code 74 if it does not come."""
    threading.Timer(0.1, (tmp_path / "late").touch).start()
    wait_until_seen(tmp_path / "late", 20)
    with pytest.raises(StaleFileError, match=r"absent, which another process .* after 0 seconds: ") as e:
        wait_until_seen(tmp_path / "absent", 0.1)
    assert e.value.exit_code == 74
