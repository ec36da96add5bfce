"""The store keeps what it should, finds what is good and says what it passes over."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest

from support.written_checkpoints import save
from textmill import files
from textmill.checkpoint.checkpoint_store import CheckpointStore
from textmill.errors import CannotWriteError, DataError, NonFiniteError, WriteFailedError


def write(folder: Path) -> None:
    (folder / "weights").write_bytes(b"w" * 100)
    (folder / "shards").mkdir()
    (folder / "shards" / "one").write_bytes(b"1")


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, said: list[str]) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints", keep=3, say=said.append)


def test_a_store_without_checkpoints_has_no_latest(store: CheckpointStore) -> None:
    """Nothing was ever committed: that is no error."""
    assert store.latest() is None
    assert store.steps() == []
    files.remove_temporaries(store.folder)


def test_a_checkpoint_lists_size_and_sha256_of_every_file(store: CheckpointStore) -> None:
    """The manifest's numbers are those of hashlib, subfolders included."""
    folder = save(store, 500, write)
    assert folder.name == "step-0000500"
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    assert manifest["step"] == 500
    assert manifest["files"] == {
        "shards/one": {"size": 1, "sha256": hashlib.sha256(b"1").hexdigest()},
        "weights": {"size": 100, "sha256": hashlib.sha256(b"w" * 100).hexdigest()},
    }
    assert store.verify(500) == store.verify(folder) == []


def test_a_copied_checkpoint_verifies_under_any_name_that_is_no_step(store: CheckpointStore, tmp_path: Path) -> None:
    """A checkpoint may be carried elsewhere."""
    shutil.copytree(save(store, 7, write), tmp_path / "elsewhere")
    assert store.verify(tmp_path / "elsewhere") == []
    assert store.verify(tmp_path / "nowhere") == [f"{tmp_path / 'nowhere'} is not a folder"]


def test_retention_keeps_the_newest_and_the_protected(store: CheckpointStore) -> None:
    """Three newest, plus the best however old it is."""
    for step in (10, 20, 30, 40, 50):
        save(store, step, write, protect={20})
    assert store.steps() == [20, 30, 40, 50]
    save(store, 60, write, protect=[])
    assert store.steps() == [40, 50, 60]


@pytest.mark.parametrize(("keep", "left"), [(1, [3]), (0, [3]), (None, [1, 2, 3])])
def test_at_least_the_newest_is_kept(tmp_path: Path, keep: int | None, left: list[int]) -> None:
    """None keeps all; nothing keeps none."""
    store = CheckpointStore(tmp_path, keep=keep, say=lambda sentence: None)
    for step in (1, 2, 3):
        save(store, step, write)
    assert store.steps() == left


def test_the_one_just_saved_is_kept_even_if_others_have_higher_steps(store: CheckpointStore) -> None:
    """A run that went back to an earlier step does not lose what it saves."""
    for step in (100, 200, 300):
        save(store, step, write)
    save(store, 50, write)
    assert store.steps() == [50, 100, 200, 300]
    assert store.discard_after(50) == [100, 200, 300]
    assert store.steps() == [50]


def test_an_old_checkpoint_that_cannot_be_deleted_does_not_stop_the_run(
    store: CheckpointStore, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The save succeeds; one sentence says what is left."""

    rename = Path.replace

    def refuse_the_old(path: Path, target: Path) -> Path:
        if path == store.path(1):
            raise PermissionError(13, "Permission denied", str(path))
        return rename(path, target)

    store.keep = 1
    save(store, 1, write)
    monkeypatch.setattr(Path, "replace", refuse_the_old)
    save(store, 2, write)
    assert store.steps() == [1, 2]
    assert said == [f"the old checkpoint {store.path(1)} cannot be deleted: Permission denied"]


def test_the_newest_good_one_is_found_and_each_bad_one_named(store: CheckpointStore, said: list[str]) -> None:
    """Every one that is skipped is named with its reason."""
    for step in (1, 2, 3):
        save(store, step, write)
    (store.path(3) / "weights").unlink()
    (store.path(2) / "weights").write_bytes(b"x")
    assert store.latest() == store.path(1)
    assert said == [
        "skipped damaged checkpoint step-0000003: weights is missing",
        "skipped damaged checkpoint step-0000002: weights has 1 bytes instead of 100",
    ]


def test_no_good_one_among_several_is_an_error(store: CheckpointStore, said: list[str]) -> None:
    """A run never starts from nothing where checkpoints exist."""
    for step in (1, 2):
        save(store, step, write)
        (store.path(step) / "MANIFEST.json").unlink()
    with pytest.raises(DataError) as caught:
        store.latest()
    assert str(caught.value) == f"all 2 checkpoints in {store.folder} are damaged"  # why, was said of each
    assert said == [f"skipped damaged checkpoint step-000000{step}: MANIFEST.json is missing" for step in (2, 1)]


def test_other_files_beside_the_checkpoints_are_no_checkpoints(store: CheckpointStore) -> None:
    """Only names of the one form count; more than seven digits are in order."""
    save(store, 5, write)
    for name in ("step-5", "epoch-1", ".tmp-step-0000009-abcdef01", "step-0000006.bak"):
        (store.folder / name).mkdir()
    save(store, 12_345_678, write)
    assert store.steps() == [5, 12_345_678]
    assert store.latest() == store.folder / "step-12345678"


def test_an_error_while_writing_passes_on_and_leaves_nothing(store: CheckpointStore) -> None:
    """Whatever `write` raises reaches the caller; the older checkpoint is untouched."""
    save(store, 1, write)
    for error in (NonFiniteError("tensor w holds NaN"), KeyboardInterrupt(), RuntimeError("a defect")):

        def fail(folder: Path, error: BaseException = error) -> None:
            write(folder)
            raise error

        with pytest.raises(type(error)):
            save(store, 2, fail)
    assert [entry.name for entry in store.folder.iterdir()] == ["step-0000001"]


def test_a_disk_without_room_is_refused_before_anything_is_written(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The estimate with a tenth on top must be free."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(0, 0, 1_000_000_000))
    called: list[Path] = []
    with pytest.raises(WriteFailedError, match=r"it needs about 1.1 GB, and 1.0 GB are free") as caught:
        save(store, 1, called.append, expected_bytes=1_000_000_001)
    assert caught.value.exit_code == 74
    assert called == []
    save(store, 1, write, expected_bytes=900_000_000)


def test_a_folder_that_cannot_be_made_is_exit_73(tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "checkpoints").write_text("in the way")
    with pytest.raises(CannotWriteError) as caught:
        save(CheckpointStore(tmp_path / "checkpoints", say=lambda sentence: None), 1, write)
    assert caught.value.exit_code == 73


def test_an_error_of_a_writer_speaks_of_the_checkpoint_not_of_its_temporary_name(store: CheckpointStore) -> None:
    """The temporary folder is gone when the message is read."""

    def fail(folder: Path) -> None:
        raise files.cannot_write(folder / "weights", OSError(28, "No space left on device"))

    with pytest.raises(WriteFailedError) as caught:
        save(store, 4, fail)
    assert str(caught.value) == f"cannot write {store.path(4) / 'weights'}: No space left on device"


def test_files_are_hashed_once_and_flushed_before_the_rename(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One hash per file is all that a save costs beyond writing."""
    hashed: list[str] = []
    real: Callable[[Path], str] = files.sha256
    monkeypatch.setattr("textmill.files.hashes.sha256", lambda path: hashed.append(path.name) or real(path))
    save(store, 1, write)
    assert sorted(hashed) == ["one", "weights"]
