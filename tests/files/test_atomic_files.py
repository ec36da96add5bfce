"""Files and folders appear whole or not at all, and leavings of the dead are cleared away."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

from support.disk_faults import Disk, NothingUnflushed, PowerFailure, TornWrites, watched
from textmill import files
from textmill.errors import CannotWriteError, WriteFailedError


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_written_text_is_there_with_its_folders(tmp_path: Path) -> None:
    """Parents are made; the old content is replaced; nothing else is left."""
    path = tmp_path / "a" / "b" / "file.txt"
    files.write_text(path, "eins")
    files.write_text(path, "zwei ü")
    assert path.read_bytes() == "zwei ü".encode()
    assert names(path.parent) == ["file.txt"]


def test_json_is_json(tmp_path: Path) -> None:
    """Infinities and NaN are refused before the old file is touched."""
    files.write_json(tmp_path / "v.json", {"ü": [1.5, None]})
    assert json.loads((tmp_path / "v.json").read_text("utf-8")) == {"ü": [1.5, None]}
    for number in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON"):
            files.write_json(tmp_path / "v.json", number)
    assert json.loads((tmp_path / "v.json").read_text("utf-8")) == {"ü": [1.5, None]}


@pytest.mark.parametrize(
    ("number", "kind", "code"),
    [
        (errno.ENOSPC, WriteFailedError, 74),
        (errno.EDQUOT, WriteFailedError, 74),
        (errno.EIO, WriteFailedError, 74),
        (errno.EACCES, CannotWriteError, 73),
        (errno.EROFS, CannotWriteError, 73),
    ],
)
def test_a_failing_disk_leaves_the_old_file_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[CannotWriteError], code: int
) -> None:
    """The error names the file and the reason and has the code of its kind."""
    path = tmp_path / "file"
    files.write_text(path, "old")

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(kind) as caught:
        files.write_text(path, "new")
    assert str(caught.value) == f"cannot write {path}: {os.strerror(number)}"
    assert caught.value.exit_code == code
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_new_directory_appears_at_the_end_of_the_block(tmp_path: Path) -> None:
    """Until then it has a temporary name, and the former one is in place."""
    final = tmp_path / "folder"
    final.mkdir()
    (final / "old").write_text("old")
    with files.new_directory(final) as temporary:
        (temporary / "new").write_text("new")
        assert names(final) == ["old"]
        assert temporary.name.startswith(files.TEMPORARY_PREFIX)
    assert names(final) == ["new"]
    assert names(tmp_path) == ["folder"]


def test_two_that_make_the_same_directory_at_once_both_succeed(tmp_path: Path) -> None:
    """Two processes fill one cache: the later one is left, whole."""
    final = tmp_path / "folder"
    with files.new_directory(final) as late:
        (late / "late").write_text("")
        with files.new_directory(final) as early:
            (early / "early").write_text("")
        assert names(final) == ["early"]
    assert names(final) == ["late"]
    assert names(tmp_path) == ["folder"]


def test_an_error_in_the_block_leaves_the_former_directory(tmp_path: Path) -> None:
    """Whatever was raised reaches the caller."""
    final = tmp_path / "folder"
    files.write_text(final / "old", "old")
    for error in (ValueError("bad"), KeyboardInterrupt()):
        with pytest.raises(type(error)), files.new_directory(final) as temporary:
            (temporary / "new").write_text("new")
            raise error
        assert names(final) == ["old"]
        assert names(tmp_path) == ["folder"]


def test_a_missing_input_in_the_block_is_not_called_a_failed_write(tmp_path: Path) -> None:
    """Only what concerns the new folder is reported as writing it."""
    with pytest.raises(FileNotFoundError), files.new_directory(tmp_path / "out" / "folder"):
        (tmp_path / "input.txt").read_text()
    with pytest.raises(CannotWriteError), files.new_directory(tmp_path / "out" / "folder") as temporary:
        (temporary / "no" / "folder").write_text("")
    assert names(tmp_path / "out") == []


def test_a_folder_whose_successor_cannot_take_its_place_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second rename fails: the first is undone."""
    final = tmp_path / "folder"
    files.write_text(final / "old", "old")
    real = Path.replace

    def rename(self: Path, target: Path) -> Path:
        if target == final and not final.exists() and not self.name.endswith(".aside"):
            raise OSError(errno.EIO, "Input/output error")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", rename)
    with pytest.raises(WriteFailedError), files.new_directory(final):
        pass
    assert names(final) == ["old"]
    assert names(tmp_path) == ["folder"]


def test_leavings_are_removed_and_a_folder_moved_aside_comes_back(tmp_path: Path) -> None:
    """A predecessor is moved back only where its successor never came; everything without the prefix stays."""
    for name in (".tmp-best-0a1b2c3d.aside", ".tmp-done-0a1b2c3d.aside", ".tmp-best-99887766", "done", "kept"):
        files.write_text(tmp_path / name / "file", name)
    files.write_text(tmp_path / "file", "kept")
    (tmp_path / ".tmp-file").write_text("")
    (tmp_path / ".tmp-link").symlink_to(tmp_path / "kept")
    files.remove_temporaries(tmp_path)
    assert names(tmp_path) == ["best", "done", "file", "kept"]
    assert (tmp_path / "best" / "file").read_text() == ".tmp-best-0a1b2c3d.aside"
    assert (tmp_path / "done" / "file").read_text() == "done"
    assert names(tmp_path / "kept") == ["file"]
    files.remove_temporaries(tmp_path / "nowhere")


def test_of_two_predecessors_the_later_comes_back(tmp_path: Path) -> None:
    """Two crashes in a row without a repair between them."""
    for version in ("zz", "aa"):
        files.write_text(tmp_path / "best" / "file", version)
        (tmp_path / "best").rename(tmp_path / f".tmp-best-{version}.aside")
    files.remove_temporaries(tmp_path)
    assert names(tmp_path) == ["best"]
    assert (tmp_path / "best" / "file").read_text() == "aa"


def test_a_removed_directory_never_stands_half_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is renamed first: what cannot be deleted has a temporary name."""
    files.write_text(tmp_path / "folder" / "file", "x")

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("shutil.rmtree", refuse)
    with pytest.raises(PermissionError):
        files.remove_directory(tmp_path / "folder")
    assert [name[:5] for name in names(tmp_path)] == [".tmp-"]


def test_sha256_is_that_of_hashlib(tmp_path: Path) -> None:
    """Over more than one buffer."""
    content = os.urandom(3_000_000)
    (tmp_path / "file").write_bytes(content)
    assert files.sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    "left",
    [NothingUnflushed(names_survive=True), NothingUnflushed(names_survive=False), *map(TornWrites, range(8))],
    ids=["names kept", "names lost", *(f"torn {seed}" for seed in range(8))],
)
def test_what_was_written_survives_a_power_failure(tmp_path: Path, left: PowerFailure) -> None:
    """Once the call has returned; before that, there is the old content or the new."""
    root = tmp_path / "disk"
    root.mkdir()
    files.write_text(root / "file", "old")
    disk = Disk(root)
    with watched(root) as operations:
        files.write_text(root / "file", "new")
        files.write_text(root / "folder/other", "first")
    for number, event in enumerate(operations.record):
        disk.apply(event)
        disk.after_power_failure(tmp_path / f"left-{number}", left)
        assert (tmp_path / f"left-{number}/file").read_text() in ("old", "new")
    last = tmp_path / f"left-{number}"
    assert (last / "file").read_text() == "new"
    assert (last / "folder/other").read_text() == "first"
