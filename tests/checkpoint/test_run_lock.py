"""Two processes never work in one output directory."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from support.disk_faults import in_child
from textmill.errors import CannotWriteError, RunExistsError
from textmill.files import lock_file
from textmill.runs.layout import LOCK
from textmill.runs.run_lock import run_lock


def test_the_second_is_refused_and_told_who_is_first(tmp_path: Path) -> None:
    """The message names process, host and start; the first is not disturbed."""
    with run_lock(tmp_path, say=print):
        for _ in range(2):
            with pytest.raises(RunExistsError) as caught, run_lock(tmp_path, say=print):
                pass
            assert f"in use by process {os.getpid()} on {socket.gethostname()}, started 20" in str(caught.value)
            assert caught.value.exit_code == 2
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()


def test_the_lock_ends_with_the_block_and_leaves_no_file(tmp_path: Path) -> None:
    """Another run may follow, after an error too."""
    with pytest.raises(RuntimeError), run_lock(tmp_path, say=print):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with run_lock(tmp_path, say=print):
        pass


def test_another_process_is_refused_until_the_holder_is_killed(tmp_path: Path) -> None:
    """The kernel frees the lock of a process that died; its stale file stops nobody."""
    ready, tell = os.pipe()
    holder = os.fork()
    if holder == 0:
        with run_lock(tmp_path, say=print):
            os.write(tell, b".")
            time.sleep(60)
        os._exit(0)
    os.read(ready, 1)
    try:
        with pytest.raises(RunExistsError, match=f"process {holder} "), run_lock(tmp_path, say=print):
            pass
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
    assert (tmp_path / LOCK).exists()
    with run_lock(tmp_path, say=print):
        pass


def test_of_many_that_start_at_once_exactly_one_wins(tmp_path: Path) -> None:
    """Twenty processes released together, five times over the leavings of the round before."""
    for _ in range(5):
        gate, open_gate = os.pipe()
        done, all_done = os.pipe()
        children = []
        for _ in range(20):
            child = os.fork()
            if child == 0:
                os.close(open_gate)
                os.close(all_done)
                os.read(gate, 1)  # returns when the parent closes its end
                code = 3
                try:
                    with run_lock(tmp_path, say=print):
                        os.read(done, 1)
                        code = 0
                except RunExistsError:
                    code = 1
                finally:
                    os._exit(code)
            children.append(child)
        os.close(open_gate)
        lost = [os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(19)]
        os.close(all_done)
        won = os.waitstatus_to_exitcode(os.wait()[1])
        os.close(gate)
        os.close(done)
        assert lost == [1] * 19
        assert won == 0


def test_handing_over_never_lets_two_in(tmp_path: Path) -> None:
    """Processes that take the lock in turn, as fast as they can, never meet inside."""
    inside = tmp_path / "inside"

    def compete() -> None:
        entered = 0
        while entered < 30:
            try:
                with run_lock(tmp_path, say=print):
                    inside.mkdir()  # fails if somebody else is in
                    inside.rmdir()
                    entered += 1
            except RunExistsError:
                pass

    def two() -> None:
        child = os.fork()
        if child == 0:
            os._exit(in_child(compete))
        compete()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    assert in_child(two) == 0


def test_a_lock_file_with_nonsense_in_it_still_names_somebody(tmp_path: Path) -> None:
    """The holder may be between locking and writing its name."""
    with run_lock(tmp_path, say=print):
        (tmp_path / LOCK).write_bytes(b"\x00not json")
        with pytest.raises(RunExistsError, match="in use by another process"), run_lock(tmp_path, say=print):
            pass


def test_a_file_system_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run goes on, and the missing protection is not kept quiet."""

    def unsupported(descriptor: int, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    said: list[str] = []
    monkeypatch.setattr("fcntl.flock", unsupported)
    with run_lock(tmp_path, say=said.append):
        pass
    assert said == [f"{tmp_path} cannot be locked (Operation not supported): start no second run in it"]


def test_a_folder_that_cannot_be_written_is_exit_73(tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "run").write_text("in the way")
    with pytest.raises(CannotWriteError) as caught, run_lock(tmp_path / "run", say=print):
        pass
    assert caught.value.exit_code == 73


def test_a_file_deleted_before_it_is_locked_is_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A holder may delete the file while another opens it: the second takes the new file, which all others see."""
    path, real = tmp_path / "lock", fcntl.flock
    calls = []

    def flock(file: Any, operation: int) -> None:
        if not calls:
            path.unlink()
        calls.append(operation)
        real(file, operation)

    monkeypatch.setattr("fcntl.flock", flock)
    file = lock_file(path)
    assert file is not None
    with file:
        assert len(calls) == 2
        assert os.path.samestat(os.fstat(file.fileno()), path.stat())
