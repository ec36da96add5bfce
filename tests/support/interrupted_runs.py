"""A run that is interrupted in a process of its own, and goes on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from support.disk_faults import in_child
from support.run_commands import assert_same_run


def quietly(act: Callable[[], None]) -> int:
    """Do `act` in a child process without a screen, and return its exit code."""

    def act_quietly() -> None:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        act()

    return in_child(act_quietly)


def assert_goes_on(folder: Path, train: Callable[[Path], None], whole: Path) -> None:
    """Continued by the same call, the run ends with the files of one that was never interrupted."""
    assert quietly(lambda: train(folder)) == 0
    assert_same_run(whole, folder)
    assert [path for path in folder.rglob("*") if path.name.startswith(".tmp-")] == []
