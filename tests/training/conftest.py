"""A small corpus and a small run."""

from __future__ import annotations

import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from support.run_commands import Command


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """One thread: sums have one order, and a forked process has no thread pool that it lost."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 12 kB of real text."""
    source = Path(sysconfig.get_paths()["stdlib"]) / "this.py"
    other = Path(sysconfig.get_paths()["stdlib"]) / "bisect.py"
    path = tmp_path_factory.mktemp("text") / "book.txt"
    path.write_text((other.read_text() + source.read_text())[:6000] * 2)
    return path


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def small_command(book: Path, cache_dir: Path) -> list[str]:
    """The arguments of a run of a few seconds that uses what makes resuming hard: dropout, accumulation, bf16."""
    return [
        *("train", str(book), "--cache-dir", str(cache_dir), "--tokenizer", "byte"),
        *("--d-model", "32", "--num-layers", "2", "--num-heads", "2", "--max-seq-len", "32", "--dropout", "0.1"),
        *("--batch-size", "4", "--gradient-accumulation-steps", "2", "--learning-rate", "3e-3"),
        *("--precision", "bf16", "--logging-steps", "3", "--sample-tokens", "8", "--seed", "7"),
    ]


@pytest.fixture
def start_command() -> Iterator[Callable[[list[str]], Command]]:
    """Start a command in a process of its own; whatever is left of it is killed at the end."""
    started: list[Command] = []

    def start(arguments: list[str]) -> Command:
        started.append(Command(arguments))
        return started[-1]

    yield start
    for one in started:
        if one.process.is_alive():
            one.process.kill()
            one.process.join()
