"""Damage to a committed checkpoint is always noticed and named, and never costs another one."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
from pathlib import Path

import pytest

from support.disk_faults import CRASHED, NAMES, content, flip_bits, in_child, writer
from support.written_checkpoints import save
from textmill import files
from textmill.checkpoint import manifest
from textmill.checkpoint.best_and_final import link_model
from textmill.checkpoint.checkpoint_store import CheckpointStore
from textmill.errors import WriteFailedError
from textmill.files import hashes


@pytest.fixture
def good(tmp_path: Path) -> CheckpointStore:
    kept = CheckpointStore(tmp_path / "checkpoints", say=lambda sentence: None)
    save(kept, 1, writer(1))
    save(kept, 2, writer(2))
    return kept


def test_every_flipped_bit_is_noticed_and_its_file_named(good: CheckpointStore) -> None:
    """200 single-bit flips over all files, the manifest included."""
    for path in flip_bits(good.path(2), 200, seed=1):
        assert any(path.name in problem for problem in good.verify(2))
    assert good.verify(2) == []


@pytest.mark.slow
def test_every_bit_of_a_manifest_matters(good: CheckpointStore) -> None:
    """All single-bit flips of MANIFEST.json, and 5,000 random ones elsewhere."""
    path = good.path(2) / manifest.MANIFEST
    whole = path.read_bytes()
    for position in range(len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << bit]) + whole[position + 1 :])
            assert good.verify(2)
    path.write_bytes(whole)
    for _ in flip_bits(good.path(2), 5000, seed=2):
        assert good.verify(2)


def test_control_without_hashes_flipped_bits_go_unnoticed(
    good: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sizes alone do not notice a flip: it is the hash that does."""
    monkeypatch.setattr(hashes, "sha256", lambda path: "same")
    save(good, 2, writer(2))
    flips = list(flip_bits(good.path(2), 20, seed=1))
    assert flips
    unnoticed = [path for path in flip_bits(good.path(2), 20, seed=1) if not good.verify(2)]
    assert {path.name for path in unnoticed} == set(NAMES)


def test_a_truncated_file_is_named_with_both_sizes(good: CheckpointStore) -> None:
    """At 0 bytes, 1 byte, half and one byte short, each file in turn."""
    for name in NAMES:
        path = good.path(2) / name
        for length in (0, 1, 200, 399):
            path.write_bytes(content(name, 2)[:length])
            assert good.verify(2) == [f"{name} has {length} bytes instead of 400"]
        path.write_bytes(content(name, 2))


def test_missing_extra_zeroed_and_foreign_files_are_named(good: CheckpointStore) -> None:
    """Each kind of damage has its own words."""
    folder = good.path(2)
    (folder / "state.json").rename(folder / "other.json")
    assert good.verify(2) == ["state.json is missing", "other.json is not in the manifest"]
    (folder / "other.json").rename(folder / "state.json")
    (folder / "model.safetensors").write_bytes(bytes(400))
    assert good.verify(2) == ["model.safetensors has changed (its SHA-256 differs)"]
    shutil.copy(good.path(1) / "model.safetensors", folder)
    assert good.verify(2) == ["model.safetensors has changed (its SHA-256 differs)"]
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(good.path(1) / "model.safetensors")
    assert good.verify(2) == ["model.safetensors is not a regular file"]


def test_a_manifest_that_is_gone_broken_or_of_another_checkpoint_is_named(good: CheckpointStore) -> None:
    """The manifest is held to the same standard as the files it lists."""
    path = good.path(2) / manifest.MANIFEST
    whole = path.read_bytes()
    path.unlink()
    assert good.verify(2) == ["MANIFEST.json is missing"]
    for broken in (b"", b"[]", b"null", b"{}", whole[:-2], whole + b" ", whole.replace(b"state", b"stale")):
        path.write_bytes(broken)
        assert good.verify(2)[0].startswith("MANIFEST.json is damaged")
    shutil.copy(good.path(1) / manifest.MANIFEST, path)
    assert good.verify(2) == ["MANIFEST.json belongs to step 1"]


def test_a_checkpoint_under_another_step_is_refused(good: CheckpointStore) -> None:
    """A folder renamed by hand does not become a newer checkpoint."""
    shutil.copytree(good.path(1), good.path(3))
    assert good.verify(3) == ["MANIFEST.json belongs to step 1"]
    assert good.latest() == good.path(2)


def test_a_full_disk_leaves_the_old_checkpoints_and_no_leavings(good: CheckpointStore) -> None:
    """The kernel refuses to let a file grow; the save says so and takes its own files away."""

    def write_much(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(bytes(100_000))

    def save_on_a_full_disk() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        with pytest.raises(WriteFailedError, match="step-0000003: File too large"):
            save(good, 3, write_much)

    assert in_child(save_on_a_full_disk) == 0
    assert sorted(entry.name for entry in good.folder.iterdir()) == ["step-0000001", "step-0000002"]
    assert good.latest() == good.path(2)


def test_leavings_of_a_killed_save_are_no_checkpoint(good: CheckpointStore) -> None:
    """A temporary folder is neither listed nor found, and repair removes it."""

    def die_while_writing() -> None:
        save(good, 3, lambda folder: os._exit(CRASHED))

    assert in_child(die_while_writing) == CRASHED
    assert len(list(good.folder.iterdir())) == 3
    assert good.steps() == [1, 2]
    files.remove_temporaries(good.folder)
    assert len(list(good.folder.iterdir())) == 2


def test_a_folder_that_cannot_be_listed_is_not_an_empty_one(
    good: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the disk while a checkpoint is listed is a problem, and no model is linked from what was seen."""
    real = os.scandir

    def scandir(folder: str | os.PathLike[str] = ".") -> object:
        if os.fspath(folder) == os.fspath(good.path(2)):
            raise OSError(errno.EIO, os.strerror(errno.EIO), folder)
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    assert good.verify(2) == [f"{good.path(2).name} cannot be listed (Input/output error)"]
    with pytest.raises(OSError, match="Input/output error"):
        link_model(good.path(2), good.folder / "model")
    assert not (good.folder / "model").exists()
