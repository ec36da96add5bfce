"""A run that a death or a power failure ends at any change to the disk goes on, and ends as if nothing had happened."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from support.disk_faults import CRASHED, Disk, NothingUnflushed, PowerFailure, TornWrites, watched
from support.interrupted_runs import assert_goes_on, quietly
from textmill.checkpoint.checkpoint_store import CheckpointStore
from textmill.runs.layout import checkpoint_step

CHANGES_BETWEEN = 36
"""The default suite tries one change in so many, the campaign every one."""


@pytest.fixture(scope="module")
def changes(train: Callable[[Path], None], tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many changes a run makes to the disk."""
    folder = tmp_path_factory.mktemp("counted") / "run"
    with watched(folder) as operations:
        train(folder)
    return len(operations.record)


def end_before(change: int, fault: str, train: Callable[[Path], None], folder: Path) -> None:
    """Train in `folder`, in a process that ends at this change to the disk."""

    def die() -> None:
        with watched(folder, change, fault):
            train(folder)

    assert quietly(die) == CRASHED


@pytest.mark.parametrize(
    ("between", "fault"),
    [
        (2 * CHANGES_BETWEEN, "exit"),
        (3 * CHANGES_BETWEEN, "torn exit"),
        pytest.param(1, "exit", marks=pytest.mark.slow),
        pytest.param(1, "torn exit", marks=pytest.mark.slow),
    ],
)
def test_a_run_that_ends_before_or_within_any_change_to_the_disk_goes_on(
    train: Callable[[Path], None], whole: Path, changes: int, tmp_path: Path, between: int, fault: str
) -> None:
    """Same weights, optimizer state and logs to the bit, and no temporary files, wherever the process ended."""
    assert changes > 150
    for change in range(0, changes, between):
        folder = tmp_path / f"ended-{change}"
        end_before(change, fault, train, folder)
        assert_goes_on(folder, train, whole)
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    "between", [pytest.param(3 * CHANGES_BETWEEN, id="sample"), pytest.param(1, id="all", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("left", ["names lost", "names kept", "torn"])
def test_a_run_goes_on_after_a_power_failure_at_any_change_to_the_disk(
    train: Callable[[Path], None], whole: Path, tmp_path: Path, left: str, between: int
) -> None:
    """What was not flushed is lost, or left in part, names in folders too, but no checkpoint that was complete is."""
    (tmp_path / "watched").mkdir()
    disk = Disk(tmp_path / "watched")
    with watched(tmp_path / "watched") as operations:
        train(tmp_path / "watched/run")
    renamed, complete = None, None
    for number, event in enumerate(operations.record):
        if renamed is not None and "/checkpoints" not in event[1]:
            complete = renamed  # the run did something else: it counts on the checkpoint
        if left == "torn" and number % between == 0:
            disk.show(event)
            assert_goes_on_from(disk, TornWrites(seed=number), complete, train, whole, tmp_path / f"torn-{number}")
        disk.apply(event)
        if event[0] == "rename" and Path(event[2]).name.startswith("step-"):
            renamed = checkpoint_step(Path(event[2]))
        if left != "torn" and number % between == 0:
            nothing = NothingUnflushed(names_survive=left == "names kept")
            assert_goes_on_from(disk, nothing, complete, train, whole, tmp_path / f"left-{number}")


def assert_goes_on_from(
    disk: Disk, left: PowerFailure, complete: int | None, train: Callable[[Path], None], whole: Path, folder: Path
) -> None:
    """After a power failure the newest checkpoint is that of step `complete` or a later one, and the run goes on."""
    disk.after_power_failure(folder, left)
    if complete is not None:
        newest = CheckpointStore(folder / "run/checkpoints", say=pytest.fail).latest()
        assert newest is not None and (checkpoint_step(newest) or 0) >= complete
    assert_goes_on(folder / "run", train, whole)
    shutil.rmtree(folder)
