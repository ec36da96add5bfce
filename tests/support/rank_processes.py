"""Several processes that train together, forked from this one so that torch is already there."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from textmill.cli.main import main
from textmill.machine.pytorch_since import FSDP

PATIENCE = 60.0
"""Seconds after which a test gives up on processes that do not end."""


class Ranks:
    """`size` processes, each running the command `arguments`, as torchrun would start them.

    Their output goes to `folder`/rank-N.txt. before: runs in each process first, with its rank. Where this
    PyTorch is too old for the engine of the command, the test is skipped.
    """

    def __init__(
        self,
        folder: Path,
        arguments: list[str],
        size: int,
        *,
        before: Callable[[int], object] | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        if "fsdp" in arguments and size > 1:
            skip_without_fsdp()
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(size)}
        variables |= environment or {}
        context = multiprocessing.get_context("fork")
        self.processes = []
        for rank in range(size):
            own = {**variables, "RANK": str(rank), "LOCAL_RANK": str(rank)} if size > 1 else {}
            process = context.Process(target=_run, args=(arguments, own, self._file(rank), rank, before))
            process.start()
            self.processes.append(process)

    def wait(self, seconds: float = PATIENCE) -> list[int]:
        """Return the exit codes by rank once all have ended; those that do not are killed and fail the test."""
        deadline = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))
        late = [rank for rank, process in enumerate(self.processes) if process.is_alive()]
        for rank in late:
            self.processes[rank].kill()
            self.processes[rank].join()
        assert not late, f"ranks {late} did not end; they said:\n{self.said()}"
        return [process.exitcode or 0 for process in self.processes]

    def send(self, rank: int, number: int) -> None:
        process = self.processes[rank]
        assert process.pid is not None
        os.kill(process.pid, number)

    def kill(self, rank: int) -> None:
        self.send(rank, signal.SIGKILL)

    def wait_for_steps(self, run: Path, number: int = 3) -> None:
        """The run has reported so many steps. Fails at once when a process has ended before."""

        def reported() -> bool:
            assert all(process.is_alive() for process in self.processes), self.said()
            log = run / "steps.jsonl"
            return log.exists() and log.read_text().count("\n") >= number

        wait_until(reported)

    def said(self, rank: int | None = None) -> str:
        """Return what one process, or all of them, wrote to the terminal."""
        ranks = range(len(self.processes)) if rank is None else [rank]
        return "".join(self._file(each).read_text() for each in ranks)

    def _file(self, rank: int) -> Path:
        return self.folder / f"rank-{rank}.txt"


def skip_without_fsdp() -> None:
    """Skip the test that calls this where PyTorch is too old for the engine."""
    if not FSDP.here():
        pytest.skip(FSDP.in_words())


def run_together(folder: Path, arguments: list[str], size: int, **options: Any) -> Ranks:
    """Return `size` processes that ran the command to its good end."""
    ranks = Ranks(folder, arguments, size, **options)
    codes = ranks.wait()
    assert codes == [0] * size, f"{codes}\n{ranks.said()}"
    return ranks


def _run(
    arguments: list[str], variables: dict[str, str], output: Path, rank: int, before: Callable[[int], object] | None
) -> None:
    os.environ.update(variables)
    sys.stdout = sys.stderr = file = output.open("w")  # Python's own writing, and below that of libraries
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
    torch.set_num_threads(1)
    if before is not None:
        before(rank)
    code = main(arguments)
    file.flush()
    os._exit(code)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def values(path: Path, name: str) -> list[float]:
    """Return one column of a run's log."""
    return [row[name] for row in map(json.loads, path.read_text().splitlines())]


def stored(folder: Path, stem: str = "model") -> dict[str, Tensor]:
    """Return the tensors of a checkpoint or a model folder, from however many files."""
    paths = [path for path in folder.glob("*.safetensors") if path.name.startswith((f"{stem}.", f"{stem}-"))]
    tensors: dict[str, Tensor] = {}
    for path in paths:
        tensors |= load_file(path)
    return tensors


def wait_until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
