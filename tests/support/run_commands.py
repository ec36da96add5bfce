"""Ways to start, stop and compare runs."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from textmill.cli.main import main

TIMES = {"elapsed_time", "tokens_per_second", "mfu", "peak_memory_gib"}
"""What two runs of the same thing may differ in."""


class Command:
    """A textmill command in a process of its own, forked from this one so that torch is already there."""

    def __init__(self, arguments: list[str]) -> None:
        context = multiprocessing.get_context("fork")
        self.process = context.Process(target=_run, args=(arguments,), daemon=False)
        self.process.start()

    def kill_after(self, seconds: float, number: int = signal.SIGKILL) -> int:
        """Send a signal after `seconds`, unless it has ended, and return the exit code as a shell would say it."""
        self.process.join(seconds)
        if self.process.is_alive() and self.process.pid is not None:
            os.kill(self.process.pid, number)
        return self.wait()

    def wait(self, seconds: float = 120) -> int:
        self.process.join(seconds)
        assert self.process.exitcode is not None, "the command did not end"
        return self.process.exitcode


def _run(arguments: list[str]) -> None:
    torch.set_num_threads(1)
    os._exit(main(arguments))


def rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a log without the times in them."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def assert_same_run(one: Path, other: Path) -> None:
    """Weights, optimizer state and logs of two runs are equal, to the bit."""
    for name in ("metrics.jsonl", "steps.jsonl", "samples.jsonl"):
        assert rows(one / name) == rows(other / name), name
    assert_same_weights(one, other)


def assert_same_weights(one: Path, other: Path) -> None:
    """Weights and optimizer state of two runs are equal, to the bit."""
    last = sorted((one / "checkpoints").glob("step-*"))[-1].name
    for name in ("model.safetensors", "optimizer.safetensors"):
        ours, theirs = load_file(one / "checkpoints" / last / name), load_file(other / "checkpoints" / last / name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), name
        assert (one / "checkpoints" / last / name).read_bytes() == (other / "checkpoints" / last / name).read_bytes()
    for folder in ("final", "best_model"):
        assert (one / folder / "model.safetensors").read_bytes() == (other / folder / "model.safetensors").read_bytes()


def wait_for(path: Path, seconds: float = 60) -> None:
    """`path` exists."""
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.01)
