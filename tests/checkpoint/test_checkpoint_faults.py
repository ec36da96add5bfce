"""Whatever interrupts a save, at whatever operation: the old checkpoint or the new one verifies, never neither."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from support.disk_faults import (
    CRASHED,
    Died,
    Disk,
    NothingUnflushed,
    PowerFailure,
    TornWrites,
    in_child,
    version_of,
    watched,
    writer,
)
from support.written_checkpoints import save
from textmill import files
from textmill.checkpoint import checkpoint_store as store
from textmill.checkpoint import manifest
from textmill.checkpoint.best_and_final import link_model
from textmill.checkpoint.checkpoint_store import CheckpointStore
from textmill.errors import DataError, WriteFailedError
from textmill.files import atomic

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="follows open files through /proc")


class Scene:
    """A store with a good checkpoint, and an act that writes a second version."""

    def __init__(self, root: Path, kind: str) -> None:
        self.root, self.kind = root, kind
        self.store = CheckpointStore(root / "checkpoints", keep=1 if kind == "only one kept" else 3, say=lambda s: None)

    def prepare(self) -> None:
        save(self.store, 1, writer(1))
        if self.kind == "link":
            link_model(self.store.path(1), self.root / "best_model")
            save(self.store, 2, writer(2))

    def act(self) -> None:
        if self.kind == "link":
            link_model(self.store.path(2), self.root / "best_model")
        else:
            save(self.store, 1 if self.kind == "same step" else 2, writer(2))

    def survivor(self, root: Path) -> int:
        """Return the version that a process finds that starts after the fault."""
        files.remove_temporaries(root)
        if self.kind == "link":
            names = sorted(entry.name for entry in (root / "best_model").iterdir())
            assert names == ["MANIFEST.json", "config.json", "model.safetensors"]
            assert manifest.manifest_problems(root / "best_model") == []
            return version_of(root / "best_model", ("config.json", "model.safetensors"))
        after = CheckpointStore(root / "checkpoints", say=lambda sentence: None)
        files.remove_temporaries(after.folder)
        newest = after.latest()
        assert newest is not None
        assert not [entry for entry in after.folder.iterdir() if entry.name.startswith(files.TEMPORARY_PREFIX)]
        return version_of(newest)


KINDS = ("new step", "only one kept", "same step", "link")


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
    """Return the versions that survive a power failure after each operation: for both fates of unflushed names, and
    where what was not flushed is left in part.
    """
    disk = Disk(scene.root)
    with watched(scene.root) as ops:
        scene.act()
    survivors = []
    for number, event in enumerate([None, *ops.record]):
        if event is not None:
            disk.show(event)
            survivors.append(survivor(scene, disk, TornWrites(-number), scratch / "torn"))
            disk.apply(event)
        for left in (TornWrites(number), NothingUnflushed(names_survive=True), NothingUnflushed(names_survive=False)):
            survivors.append(survivor(scene, disk, left, scratch / "left"))
    return survivors


def survivor(scene: Scene, disk: Disk, left: PowerFailure, folder: Path) -> int:
    """Return the version that is `left`."""
    disk.after_power_failure(folder, left)
    version = scene.survivor(folder)
    shutil.rmtree(folder)
    return version


@pytest.mark.parametrize("kind", KINDS)
def test_a_power_failure_after_any_operation_leaves_the_old_or_the_new(
    scene: Callable[[str], Scene], tmp_path: Path, kind: str
) -> None:
    """When the save has returned, the new one is there whichever unflushed names survived."""
    survivors = lose_power_everywhere(scene(kind), tmp_path)
    assert survivors[0] == 1
    assert survivors[-3:] == [2, 2, 2]


# --- positive controls: the campaigns notice a broken commit ----------------------------------------------------


def test_control_without_flushing_the_power_failure_campaign_fails(
    scene: Callable[[str], Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A save that skips fsync loses data, and the campaign says so."""
    made = scene("only one kept")
    monkeypatch.setattr(atomic, "flush", lambda descriptor: None)
    with pytest.raises((AssertionError, DataError)):
        lose_power_everywhere(made, tmp_path)


def test_control_without_flushing_directories_the_power_failure_campaign_fails(
    scene: Callable[[str], Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rename that is never flushed may be undone after the save has returned."""
    made = scene("new step")
    monkeypatch.setattr(atomic, "fsync_directory", lambda folder: None)
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
    with pytest.raises(DataError):
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
