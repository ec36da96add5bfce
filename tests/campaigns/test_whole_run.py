"""A run that ends before any of its changes to the disk goes on from there, and ends as if nothing had happened."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import textmill
from support.disk_faults import CRASHED, in_child, watched
from support.run_commands import assert_same_run

CHANGES_BETWEEN = 24
"""The default suite tries one change in so many, the campaign every one."""

TINY = {
    "tokenizer": "char",
    "d_model": 16,
    "num_layers": 1,
    "num_heads": 1,
    "max_seq_len": 16,
    "batch_size": 2,
    "max_steps": 12,
    "save_steps": 4,
    "eval_steps": 4,
    "logging_steps": 3,
    "sample_steps": 6,
    "sample_tokens": 4,
    "save_total_limit": 1,
    "device": "cpu",
    "threads": 1,
    "precision": "fp32",
    "resume": "auto",
}


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], None]:
    """Train twelve steps in a folder, or what is left of them, with three checkpoints of which one is kept."""
    folder = tmp_path_factory.mktemp("text")
    text = folder / "text.txt"
    text.write_text("the cat sat on the mat and looked at the rat. " * 200)
    torch.set_num_threads(1)

    def train_in(output: Path) -> None:
        textmill.train(**TINY, data=str(text), cache_dir=str(folder / "cache"), output_dir=str(output))

    return train_in


@pytest.fixture(scope="module")
def whole(train: Callable[[Path], None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(folder)
    return folder


@pytest.fixture(scope="module")
def changes(train: Callable[[Path], None], tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many changes a run makes to the disk."""
    folder = tmp_path_factory.mktemp("counted") / "run"
    with watched(folder) as operations:
        train(folder)
    return len(operations.record)


def quietly(act: Callable[[], None]) -> int:
    """Do `act` in a child process without a screen, and return its exit code."""

    def act_quietly() -> None:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        act()

    return in_child(act_quietly)


def end_before(change: int, fault: str, train: Callable[[Path], None], folder: Path) -> None:
    """Train in `folder`, in a process that ends at this change to the disk."""

    def die() -> None:
        with watched(folder, change, fault):
            train(folder)

    assert quietly(die) == CRASHED


def assert_goes_on(folder: Path, train: Callable[[Path], None], whole: Path) -> None:
    """Continued by the same call, the run ends with the files of one that was never interrupted."""
    assert quietly(lambda: train(folder)) == 0
    assert_same_run(whole, folder)
    assert not [path for path in folder.rglob("*") if path.name.startswith(".tmp-")]


@pytest.mark.parametrize(
    ("between", "fault"),
    [
        (CHANGES_BETWEEN, "exit"),
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
