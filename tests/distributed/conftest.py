"""A small corpus with a last row that is not full, and a small run on it."""

from __future__ import annotations

import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from support.rank_processes import Ranks, run_together


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """One thread: sums have one order, and a forked process has no thread pool that it lost."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def small_command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The arguments of a run without dropout in float32, whose epochs of 43 rows no batch size here divides."""
    text = tmp_path_factory.mktemp("text") / "book.txt"
    text.write_text((Path(sysconfig.get_paths()["stdlib"]) / "bisect.py").read_text()[:1505])
    return [
        *("train", str(text), "--cache-dir", str(tmp_path_factory.mktemp("cache")), "--tokenizer", "byte"),
        *("--d-model", "32", "--num-layers", "2", "--num-heads", "2", "--max-seq-len", "32", "--dropout", "0"),
        *("--precision", "fp32", "--learning-rate", "3e-3", "--logging-steps", "1"),
        *("--optimizer", "adamw", "--seed", "7"),
    ]


@pytest.fixture(scope="session")
def twenty_steps() -> list[str]:
    """The length of a whole run."""
    return [
        "--max-steps",
        "20",
        "--eval-steps",
        "7",
        "--save-steps",
        "10",
        "--sample-steps",
        "20",
        "--sample-tokens",
        "8",
    ]


@pytest.fixture(scope="session")
def single_process_run(
    small_command: list[str], twenty_steps: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The run in one process: 20 steps of 8 rows."""
    folder = tmp_path_factory.mktemp("golden")
    run_together(folder, [*small_command, *twenty_steps, "--batch-size", "8", "--output-dir", str(folder / "run")], 1)
    return folder / "run"


@pytest.fixture
def start_ranks(tmp_path: Path) -> Iterator[Callable[..., Ranks]]:
    """Start processes; whatever is left of them is killed at the end."""
    started: list[Ranks] = []

    def launch(arguments: list[str], size: int, **options: object) -> Ranks:
        started.append(Ranks(tmp_path / f"said-{len(started)}", arguments, size, **options))  # type: ignore[arg-type]
        return started[-1]

    yield launch
    for ranks in started:
        for process in ranks.processes:
            if process.is_alive():
                process.kill()
                process.join()
