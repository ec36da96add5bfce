"""What may happen to processes while they save: none waits for ever, and every older checkpoint stays as it was."""

from __future__ import annotations

import datetime
import os
import random
import resource
import signal
import stat
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist
from torch.distributed.distributed_c10d import _set_pg_timeout

from support.network_disks import cached_names
from support.rank_processes import Ranks, run_together, stored, values, wait_until
from support.run_moments import after_steps
from textmill.checkpoint.checkpoint_store import CheckpointStore

Start = Callable[..., Ranks]
SAVING = ["--save-steps", "2", "--eval-steps", "100", "--sample-steps", "0", "--batch-size", "4"]
WRITTEN = {"ddp": ["model", "optimizer"], "fsdp": ["model-00001", "model-00002", "optimizer-00001", "optimizer-00002"]}


def assert_sound(run: Path, steps: list[int]) -> None:
    """These checkpoints are there and whole, and nothing else is beside them."""
    folder = run / "checkpoints"
    assert sorted(path.name for path in folder.iterdir()) == [f"step-{step:07d}" for step in steps]
    store = CheckpointStore(folder, say=lambda sentence: None)
    assert all(store.verify(step) == [] for step in steps)


def limit_files(step: int, *, die: bool = False) -> None:
    """From this step on, let the process write no file longer than 4 kB: less than weights, more than logs.

    Its system then refuses the write with an error, or kills it in the middle of the file.
    """

    def limit(number: int) -> None:
        if number == step:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            if die:
                signal.signal(signal.SIGXFSZ, signal.SIG_DFL)

    after_steps(limit)


def test_a_process_that_sees_new_folders_late(small_command: list[str], tmp_path: Path, start_ranks: Start) -> None:
    """Rank 1, on another machine, remembers the names in folders: it waits until it sees each checkpoint's."""
    run, remembered = tmp_path / "run", ExitStack()

    def before(rank: int) -> None:
        if rank == 1:
            (run / "checkpoints").mkdir(parents=True, exist_ok=True)
            remembered.enter_context(cached_names(run, looks=100_000))
            assert not (run / "checkpoints/step-0000002").exists()

    command = [*small_command, *SAVING, "--max-steps", "4", "--engine", "fsdp", "--output-dir", str(run), "--overwrite"]
    ranks = start_ranks(command, 2, before=before)
    assert ranks.wait(60) == [0, 0], ranks.said()
    assert_sound(run, [2, 4])


@pytest.mark.parametrize(
    ("engine", "victim"), [("ddp", 0), ("fsdp", 0), pytest.param("fsdp", 1, marks=pytest.mark.slow)]
)
def test_a_process_killed_while_it_writes(
    small_command: list[str], tmp_path: Path, start_ranks: Start, engine: str, victim: int
) -> None:
    """In the middle of a file of the third save: the other exits 69, and the next start clears up and goes on."""

    def before(rank: int) -> None:
        if rank == victim:
            limit_files(6, die=True)

    run = tmp_path / "run"
    command = [*small_command, *SAVING, "--max-steps", "12", "--engine", engine, "--output-dir", str(run)]
    ranks = start_ranks(command, 2, before=before)
    codes = ranks.wait(30)
    assert (codes[victim], codes[1 - victim]) == (-signal.SIGXFSZ, 69), ranks.said()
    if victim == 0:  # nobody was left to clear up
        assert any(path.name.startswith(".tmp-") for path in (run / "checkpoints").iterdir())
    store = CheckpointStore(run / "checkpoints", say=lambda sentence: None)
    assert store.steps() == [2, 4]
    again = run_together(tmp_path / "again", ["train", "--output-dir", str(run), "--resume"], 2)
    assert "at step 4 of 12" in again.said(0)
    assert_sound(run, [8, 10, 12])
    assert values(run / "steps.jsonl", "step") == list(range(1, 13))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ddp", "fsdp"])
def test_processes_that_come_apart_to_a_save_wait_for_each_other(
    small_command: list[str], tmp_path: Path, engine: str
) -> None:
    """One comes late to every save, and one writes for longer than a step may take: the run does not mind."""

    def before(rank: int) -> None:
        whole, flush = dist.new_group, os.fsync
        waiting: list[Any] = [None]  # the groups whose patience is that of a step
        slow = [9.0] if rank == 0 else []

        def new_group(*arguments: Any, timeout: datetime.timedelta, **options: Any) -> Any:
            group: Any = whole(*arguments, timeout=timeout, **options)
            if timeout < datetime.timedelta(hours=1):
                waiting.append(group)
            return group

        def fsync(descriptor: int) -> None:
            if slow and stat.S_ISREG(os.fstat(descriptor).st_mode) and os.fstat(descriptor).st_size > 4096:
                time.sleep(slow.pop())
            flush(descriptor)

        def late(number: int) -> None:
            if number == 1:
                for group in waiting:
                    _set_pg_timeout(datetime.timedelta(seconds=6), group)
            if number % 2 == 0 and rank == 1:
                time.sleep(1)

        dist.new_group, os.fsync = new_group, fsync
        after_steps(late)

    run = tmp_path / "run"
    command = [*small_command, *SAVING, "--max-steps", "4", "--engine", engine, "--output-dir", str(run)]
    run_together(tmp_path / "said", command, 2, before=before)
    assert_sound(run, [2, 4])
    names = [path.name.partition("-of-")[0].removesuffix(".safetensors") for path in step(run, 4).glob("*.safetensors")]
    assert sorted(names) == WRITTEN[engine]


def step(run: Path, number: int) -> Path:
    return run / "checkpoints" / f"step-{number:07d}"


def test_a_disk_that_is_full_for_one_ends_the_save_for_all(
    small_command: list[str], tmp_path: Path, start_ranks: Start
) -> None:
    """The second process alone cannot write: all train on, and end with 74 at the third time; one line says why."""

    def before(rank: int) -> None:
        if rank == 1:
            limit_files(4)

    run = tmp_path / "run"
    command = [*small_command, *SAVING, "--max-steps", "12", "--engine", "fsdp", "--output-dir", str(run)]
    ranks = start_ranks(command, 2, before=before)
    assert ranks.wait() == [74, 74], ranks.said()
    assert_sound(run, [2])
    assert len(stored(step(run, 2))) > 10
    errors = [line for line in ranks.said().splitlines() if line.startswith("textmill: error:")]
    assert len(errors) == 1, ranks.said()
    assert "checkpoints/step-0000008/model-00002-of-00002.safetensors: File too large" in errors[0]
    assert ranks.said(0).count("training continues") == 2
    assert values(run / "steps.jsonl", "step") == list(range(1, 9))


@pytest.mark.slow
def test_processes_killed_at_random_instants_lose_nothing(
    small_command: list[str], tmp_path: Path, start_ranks: Start
) -> None:
    """Six kills of one or both in a run that saves all the time, then its end: the bits of a run left in peace."""
    generator = random.Random(5)
    length = [*SAVING[2:], "--max-steps", "60", "--save-total-limit", "2", "--engine", "fsdp"]
    peace, run = tmp_path / "peace", tmp_path / "run"
    run_together(tmp_path / "said", [*small_command, *length, "--save-steps", "100", "--output-dir", str(peace)], 2)
    command = [*small_command, *length, "--save-steps", "1", "--output-dir", str(run)]
    store = CheckpointStore(run / "checkpoints", say=lambda sentence: None)
    reached = 0
    for _ in range(6):
        ranks = start_ranks(command, 2)
        wait_until(lambda: max(store.steps(), default=0) > reached)  # noqa: B023
        time.sleep(generator.uniform(0, 0.2))
        victims = generator.choice([(0,), (1,), (0, 1)])
        for victim in victims:
            ranks.kill(victim)
        ranks.wait(30)
        assert all(store.verify(step) == [] for step in store.steps())
        assert max(store.steps()) > reached
        reached = max(store.steps())
        command = ["train", "--resume", "--output-dir", str(run)]
    assert reached < 60
    assert start_ranks(command, 2).wait(200) == [0, 0]
    for name in (path.name for path in step(peace, 60).glob("*.safetensors")):
        assert (step(run, 60) / name).read_bytes() == (step(peace, 60) / name).read_bytes(), name
    assert not list(run.rglob(".tmp-*"))
