"""Whatever interrupts a save, at whatever operation: the old checkpoint or the new one verifies, never neither."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from crash_points import CRASHED, Died, Disk, in_child, watched

from textmill import files
from textmill.checkpoint import manifest, store
from textmill.checkpoint.publish import publish
from textmill.checkpoint.store import CheckpointStore
from textmill.errors import MissingInputError, WriteFailedError

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="follows open files through /proc")

NAMES = ("config.json", "model.safetensors", "optimizer.safetensors", "state.json")


def content(name: str, version: int) -> bytes:
    return random.Random(f"{name} {version}").randbytes(400)


def writer(version: int) -> Callable[[Path], None]:
    """Return what writes a checkpoint whose every file tells which version it is; large files in two pieces."""

    def write(folder: Path) -> None:
        for name in NAMES:
            with (folder / name).open("wb") as file:
                file.write(content(name, version)[:150])
                file.write(content(name, version)[150:])

    return write


def version_of(folder: Path, names: tuple[str, ...] = NAMES) -> int:
    """Return the one version that every file of the folder has."""
    found = {v for name in names for v in (1, 2) if (folder / name).read_bytes() == content(name, v)}
    assert len(found) == 1
    return found.pop()


class Scene:
    """A store with a good checkpoint, and an act that writes a second version."""

    def __init__(self, root: Path, kind: str) -> None:
        self.root, self.kind = root, kind
        self.store = CheckpointStore(root / "checkpoints", keep=1 if kind == "only one kept" else 3, say=lambda s: None)

    def prepare(self) -> None:
        self.store.save(1, writer(1))
        if self.kind == "publish":
            publish(self.store.path(1), self.root / "best_model")
            self.store.save(2, writer(2))

    def act(self) -> None:
        if self.kind == "publish":
            publish(self.store.path(2), self.root / "best_model")
        else:
            self.store.save(1 if self.kind == "same step" else 2, writer(2))

    def survivor(self, root: Path) -> int:
        """Return the version that a process finds that starts after the fault."""
        files.remove_temporaries(root)
        if self.kind == "publish":
            assert sorted(entry.name for entry in (root / "best_model").iterdir()) == [
                "config.json",
                "model.safetensors",
            ]
            return version_of(root / "best_model", ("config.json", "model.safetensors"))
        after = CheckpointStore(root / "checkpoints", say=lambda sentence: None)
        after.repair()
        newest = after.latest()
        assert newest is not None
        assert not [entry for entry in after.folder.iterdir() if entry.name.startswith(files.TEMPORARY_PREFIX)]
        return version_of(newest)


KINDS = ("new step", "only one kept", "same step", "publish")


@pytest.fixture
def scene(tmp_path: Path) -> Callable[[str], Scene]:
    def build(kind: str) -> Scene:
        made = Scene(tmp_path / "run", kind)
        made.prepare()
        return made

    return build


def crash_everywhere(scene: Scene, fault: str, scratch: Path) -> list[int]:
    """Return the version that survives a fault at each operation in turn, up to the run without one."""
    survivors = []
    pristine = scratch / "pristine"
    shutil.copytree(scene.root, pristine)
    for at in range(500):
        code = CRASHED
        shutil.rmtree(scene.root)
        shutil.copytree(pristine, scene.root)

        def ends(at: int = at) -> None:
            with watched(scene.root, at, fault):
                scene.act()

        if fault.endswith("exit"):
            code = in_child(ends)
        else:
            with suppress(Died):
                ends()
                code = 0
        survivors.append(scene.survivor(scene.root))
        if code == 0:
            return survivors
        assert code == CRASHED
    raise AssertionError("the act never came to its end")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "fault",
    ["die", "tear", pytest.param("exit", marks=pytest.mark.slow), pytest.param("torn exit", marks=pytest.mark.slow)],
)
def test_a_process_that_dies_before_or_within_any_operation_leaves_the_old_or_the_new(
    scene: Callable[[str], Scene], tmp_path: Path, kind: str, fault: str
) -> None:
    """Old versions survive early deaths, new ones late deaths, and there is nothing in between."""
    survivors = crash_everywhere(scene(kind), fault, tmp_path)
    assert len(survivors) > 10
    assert survivors == sorted(survivors)
    assert survivors[0] == 1
    assert survivors[-1] == 2


def test_a_process_that_really_dies_leaves_the_old_or_the_new(scene: Callable[[str], Scene], tmp_path: Path) -> None:
    """A real exit at each operation leaves exactly what the model of death leaves, for the kind that also deletes."""
    made = scene("only one kept")
    modelled = crash_everywhere(made, "die", tmp_path / "modelled")
    shutil.rmtree(made.root)
    made.prepare()
    assert crash_everywhere(made, "exit", tmp_path / "real") == modelled


@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_that_fails_at_any_operation_leaves_the_old_or_the_new_and_no_leavings(
    scene: Callable[[str], Scene], tmp_path: Path, kind: str
) -> None:
    """The error is a WriteFailedError or, where only tidying failed, no error at all."""
    made = scene(kind)
    pristine = tmp_path / "pristine"
    shutil.copytree(made.root, pristine)
    with watched(made.root) as ops:
        made.act()
    failed = 0
    for at in range(len(ops.record)):
        shutil.rmtree(made.root)
        shutil.copytree(pristine, made.root)
        with watched(made.root, at, "error"):
            try:
                made.act()
            except WriteFailedError as error:
                failed += 1
                assert "No space left" in str(error)
                assert files.TEMPORARY_PREFIX not in str(error)
        assert made.survivor(made.root) in (1, 2)
    assert failed > 5


def lose_power_everywhere(scene: Scene, scratch: Path) -> list[int]:
    """Return the versions that survive a power failure after each operation, for both fates of unflushed names."""
    disk = Disk(scene.root)
    with watched(scene.root) as ops:
        scene.act()
    survivors = []
    for number, event in enumerate([None, *ops.record]):
        if event is not None:
            disk.apply(event)
        for names_survive in (True, False):
            left = scratch / f"left-{number}-{names_survive}"
            disk.after_power_failure(left, names_survive=names_survive)
            survivors.append(scene.survivor(left))
            shutil.rmtree(left)
    return survivors


@pytest.mark.parametrize("kind", KINDS)
def test_a_power_failure_after_any_operation_leaves_the_old_or_the_new(
    scene: Callable[[str], Scene], tmp_path: Path, kind: str
) -> None:
    """When the save has returned, the new one is there whichever unflushed names survived."""
    survivors = lose_power_everywhere(scene(kind), tmp_path)
    assert survivors[0] == 1
    assert survivors[-2:] == [2, 2]


# --- positive controls: the campaigns notice a broken commit ----------------------------------------------------


def test_control_without_flushing_the_power_failure_campaign_fails(
    scene: Callable[[str], Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A save that skips fsync loses data, and the campaign says so."""
    made = scene("only one kept")
    monkeypatch.setattr(files, "flush_to_disk", lambda descriptor: None)
    with pytest.raises((AssertionError, MissingInputError)):
        lose_power_everywhere(made, tmp_path)


def test_control_without_flushing_directories_the_power_failure_campaign_fails(
    scene: Callable[[str], Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rename that is never flushed may be undone after the save has returned."""
    made = scene("new step")
    monkeypatch.setattr(files, "fsync_directory", lambda folder: None)
    assert lose_power_everywhere(made, tmp_path)[-1] == 1


def test_control_writing_in_place_the_crash_campaign_fails(
    scene: Callable[[str], Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A save that writes under the final name destroys what was there."""

    @contextmanager
    def in_place(final: Path) -> Iterator[Path]:
        final.mkdir(exist_ok=True)
        (final / manifest.MANIFEST).unlink(missing_ok=True)
        yield final

    made = scene("same step")
    monkeypatch.setattr(store, "new_directory", in_place)
    with pytest.raises(MissingInputError):
        crash_everywhere(made, "die", tmp_path)


def test_control_deleting_before_the_new_one_is_there_the_crash_campaign_fails(
    scene: Callable[[str], Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retention that runs first leaves a moment without any checkpoint."""
    made = scene("only one kept")
    act = made.act

    def delete_first() -> None:
        files.remove_directory(made.store.path(1))
        act()

    monkeypatch.setattr(made, "act", delete_first)
    with pytest.raises(AssertionError):
        crash_everywhere(made, "die", tmp_path)


# --- damage after the save ------------------------------------------------------------------------------------


@pytest.fixture
def good(tmp_path: Path) -> CheckpointStore:
    kept = CheckpointStore(tmp_path / "checkpoints", say=lambda sentence: None)
    kept.save(1, writer(1))
    kept.save(2, writer(2))
    return kept


def flip_bits(folder: Path, trials: int, seed: int) -> Iterator[Path]:
    """Flip one random bit of the checkpoint at a time, every file in its turn, and put it back."""
    generator = random.Random(seed)
    paths = sorted(path for path in folder.iterdir() if path.is_file())
    for trial in range(trials):
        path = paths[trial % len(paths)]
        whole = path.read_bytes()
        position, bit = generator.randrange(len(whole)), 1 << generator.randrange(8)
        path.write_bytes(whole[:position] + bytes([whole[position] ^ bit]) + whole[position + 1 :])
        yield path
        path.write_bytes(whole)


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
    monkeypatch.setattr(manifest, "sha256", lambda path: "same")
    good.save(2, writer(2))
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
            good.save(3, write_much)

    assert in_child(save_on_a_full_disk) == 0
    assert sorted(entry.name for entry in good.folder.iterdir()) == ["step-0000001", "step-0000002"]
    assert good.latest() == good.path(2)


def test_leavings_of_a_killed_save_are_no_checkpoint(good: CheckpointStore) -> None:
    """A temporary folder is neither listed nor found, and repair removes it."""

    def die_while_writing() -> None:
        good.save(3, lambda folder: os._exit(CRASHED))

    assert in_child(die_while_writing) == CRASHED
    assert len(list(good.folder.iterdir())) == 3
    assert good.steps() == [1, 2]
    good.repair()
    assert len(list(good.folder.iterdir())) == 2
