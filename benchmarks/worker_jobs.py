"""Jobs that run one after another in a process of their own, each with a time limit: one that fails costs one line.

A job that raises, hangs or takes its process down is reported like any other, and the next one starts, in a new process
if the old one may have suffered.
"""

from __future__ import annotations

import importlib
import multiprocessing
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

START_SECONDS = 120.0
"""Seconds that a process may take to start and to import the modules of all jobs."""


@dataclass(frozen=True)
class Job:
    """A call of `function`, which is `module:name`, that returns JSON-ready values.

    seconds: how long it may take. alone: it changes settings of its process that no other job should see.
    """

    name: str
    function: str
    arguments: dict[str, Any] = field(default_factory=dict)
    seconds: float = 60.0
    alone: bool = False


def serve(modules: Sequence[str], pipe: Connection) -> None:
    """Run the jobs that come through the pipe, and answer each with its result or with an error."""
    for module in modules:
        importlib.import_module(module)
    pipe.send({"ready": True})
    while (job := pipe.recv()) is not None:
        module, _, name = job.function.partition(":")
        try:
            answer = {"result": getattr(importlib.import_module(module), name)(**job.arguments)}
        except BaseException as error:
            traceback.print_exc()  # to stderr, whole; the answer is one line
            answer = {"error": f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"}
        pipe.send(answer)


class _Worker:
    """A process that runs jobs; `answer` waits for it no longer than it is told."""

    def __init__(self, modules: Sequence[str]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(target=serve, args=(modules, theirs))
        self._process.start()
        theirs.close()

    def start(self, job: Job) -> None:
        self._pipe.send(job)

    def answer(self, seconds: float) -> dict[str, Any]:
        """Return the process's next answer, or an error if none comes."""
        try:
            if self._pipe.poll(seconds):
                return self._pipe.recv()
        except (EOFError, OSError):
            self._process.join(10)
            return {"error": f"the process ended with exit code {self._process.exitcode}"}
        return {"error": f"stopped after {seconds:.0f} s, its time limit"}

    def end(self) -> None:
        """End the process, at once."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def run_jobs(jobs: Sequence[Job], *, seconds: float) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Run the jobs in their order, and yield each with {"result", "seconds"} or {"error", "seconds"}.

    seconds: for all of them together; what does not begin in that time is not begun, which is an error of its job.
    """
    modules = sorted({job.function.partition(":")[0] for job in jobs})
    deadline = time.monotonic() + seconds
    worker: _Worker | None = None
    try:
        for job in jobs:
            began = time.monotonic()
            if began >= deadline:
                yield job, {"error": f"not begun: the {seconds:.0f} s of all jobs are over", "seconds": 0.0}
                continue
            if worker is not None and job.alone:
                worker.end()
                worker = None
            answer = {"ready": True}
            if worker is None:
                worker = _Worker(modules)
                answer = worker.answer(min(START_SECONDS, deadline - began))
            if "ready" in answer:
                worker.start(job)
                answer = worker.answer(min(job.seconds, max(0.0, deadline - time.monotonic())))
            if job.alone or "error" in answer:
                worker.end()
                worker = None
            yield job, {**answer, "seconds": round(time.monotonic() - began, 2)}
    finally:
        if worker is not None:
            worker.end()
