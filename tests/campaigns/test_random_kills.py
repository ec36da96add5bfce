"""A run that is killed at random instants, again and again, ends as one that was never interrupted."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.interrupted_runs import assert_goes_on, quietly

KILLS_OF_A_RUN = 4


def seconds_of(train: Callable[[Path], None], folder: Path) -> float:
    """Return how long a run takes in a process of its own on this machine."""
    started = time.perf_counter()
    assert quietly(lambda: train(folder)) == 0
    return time.perf_counter() - started


def kill_after(seconds: float, train: Callable[[Path], None], folder: Path) -> bool:
    """Train in `folder` and kill the process after `seconds`. Return whether it had not ended by itself."""

    def die_in_time() -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds)  # SIGALRM ends the process like SIGKILL: nobody handles it
        train(folder)

    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    code = quietly(die_in_time)
    assert code in (0, -signal.SIGALRM), code
    return code != 0


@pytest.mark.parametrize("kills", [12, pytest.param(1000, marks=pytest.mark.slow)])
def test_runs_killed_at_random_instants_go_on(
    train: Callable[[Path], None], whole: Path, tmp_path: Path, kills: int
) -> None:
    """None is lost, none differs in a bit, none cannot be resumed."""
    generator = random.Random(7)
    longest = 1.1 * seconds_of(train, tmp_path / "timed")
    killed, of_this_run, folder = 0, 0, tmp_path / "run"
    while killed < kills:
        if kill_after(generator.uniform(0, longest), train, folder):
            killed, of_this_run = killed + 1, of_this_run + 1
        if of_this_run < KILLS_OF_A_RUN:
            continue
        assert_goes_on(folder, train, whole)
        shutil.rmtree(folder)
        of_this_run = 0


def test_what_a_killed_process_left_unfinished_is_cleared(
    train: Callable[[Path], None], whole: Path, tmp_path: Path
) -> None:
    """In the run folder, among the checkpoints and in the tokenizer's folder."""
    folder = Path(shutil.copytree(whole, tmp_path / "run"))
    for name in (".", "checkpoints", "tokenizer"):
        (folder / name / ".tmp-tokenizer.json-12345678").write_text("half")
    assert_goes_on(folder, train, whole)
