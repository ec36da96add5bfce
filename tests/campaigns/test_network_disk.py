"""A run on a disk without hard links, locks and flushed names, as those of networks are."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

from support.disk_faults import network_disk
from support.interrupted_runs import assert_goes_on, quietly
from support.run_commands import assert_same_run


def test_a_run_on_a_network_disk_is_that_on_a_local_one(
    train: Callable[[Path], None], whole: Path, tmp_path: Path
) -> None:
    """The same files to the bit, and one sentence about the missing locks."""
    with network_disk():
        assert quietly(lambda: train(tmp_path / "run")) == 0
    assert_same_run(whole, tmp_path / "run")
    assert (tmp_path / "run/train.log").read_text().count("cannot be locked") == 1


def test_a_run_killed_on_a_network_disk_goes_on(train: Callable[[Path], None], whole: Path, tmp_path: Path) -> None:
    """Killed at nine instants of its first second, and continued there."""

    def die_in_time(seconds: float) -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        train(tmp_path / "run")

    with network_disk():
        for tenths in range(1, 10):
            assert quietly(lambda seconds=tenths / 10: die_in_time(seconds)) in (0, -signal.SIGALRM)
        assert_goes_on(tmp_path / "run", train, whole)
