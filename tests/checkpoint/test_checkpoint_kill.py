"""What a save has reported is never lost, whenever the process is killed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from textmill.checkpoint.checkpoint_store import CheckpointStore
from textmill.files import remove_temporaries

PROGRAM = """
import random, sys
from pathlib import Path
from textmill.checkpoint.best_and_final import link_model
from textmill.checkpoint.checkpoint_store import CheckpointStore

run = Path(sys.argv[1])
store = CheckpointStore(run / "checkpoints", keep=2, say=print)
step = max(store.steps(), default=0)
print("ready", flush=True)
while True:
    step += 1
    content = random.Random(step).randbytes(200_000)
    with store.saving(step, protect={1}) as folder:
        (folder / "model.safetensors").write_bytes(content)
        (folder / "step").write_bytes(b"%d" % step)
    print(step, flush=True)
    link_model(store.path(step), run / "best_model")
"""


def test_a_process_killed_at_random_loses_nothing_that_it_reported(tmp_path: Path) -> None:
    """Killed and started again twelve times: each time all checkpoints verify, the last reported one included."""
    kill_and_check(tmp_path, trials=12, seed=3)


@pytest.mark.slow
def test_a_process_killed_at_random_many_times(tmp_path: Path) -> None:
    """Three hundred kills."""
    kill_and_check(tmp_path, trials=300, seed=4)


def seconds_per_save(folder: Path) -> float:
    """Return how long a save takes on this machine, as the mean of three."""
    with subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        started = time.perf_counter()
        for _ in range(3):
            process.stdout.readline()
        seconds = (time.perf_counter() - started) / 3
        process.kill()
    return seconds


def kill_and_check(run: Path, trials: int, seed: int) -> None:
    generator = random.Random(seed)
    longest = 5 * seconds_per_save(run.with_name("timed"))
    program = [sys.executable, "-c", PROGRAM, str(run)]
    said: list[str] = []
    reported, published = 0, 0
    for _ in range(trials):
        with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(generator.uniform(0, longest))
            process.send_signal(signal.SIGKILL)
            steps = process.stdout.read().split()
        reported = max([reported, *map(int, steps)])
        remove_temporaries(run)
        store = CheckpointStore(run / "checkpoints", say=said.append)
        remove_temporaries(store.folder)
        newest = store.latest()
        if newest is None:
            assert reported == 0
            continue
        step = int(newest.name.removeprefix("step-"))
        assert step >= reported
        assert (newest / "model.safetensors").read_bytes() == random.Random(step).randbytes(200_000)
        assert all(store.verify(other) == [] for other in store.steps())
        assert 1 in store.steps()
        assert len(store.steps()) <= 4  # two, the protected one, and one whose deletion the kill prevented
        if published or (run / "best_model").exists():
            former, published = published, int((run / "best_model" / "step").read_bytes())
            assert former <= published <= step
            weights = (run / "best_model" / "model.safetensors").read_bytes()
            assert weights == random.Random(published).randbytes(200_000)
    assert said == []
    assert reported > trials / 2
    assert published > 0
