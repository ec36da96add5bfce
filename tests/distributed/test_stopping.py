"""Processes that train together end together: by a signal, by a refusal, by the death of one of them."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.distributed import TCPStore
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook

from support.rank_processes import Ranks, free_port, run_together, values
from support.run_moments import after_steps
from textmill.engine import peer_watch

Start = Callable[..., Ranks]
LONG = ["--max-steps", "100000", "--eval-steps", "100000", "--sample-steps", "0", "--batch-size", "4"]
RARELY = ["--save-steps", "100000"]


def status(run: Path) -> dict[str, object]:
    return json.loads((run / "status.json").read_text())


def checkpoints(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir() if path.name.startswith("step-"))


@pytest.mark.parametrize(("engine", "rank"), [("ddp", 1), ("fsdp", 0)])
def test_a_signal_to_one_stops_all_at_the_same_step(
    small_command: list[str], tmp_path: Path, start_ranks: Start, engine: str, rank: int
) -> None:
    """SIGTERM to any one process: both exit 143, one checkpoint is saved, and a resumed run goes on from its step."""
    run = tmp_path / "run"
    ranks = start_ranks([*small_command, *LONG, *RARELY, "--engine", engine, "--output-dir", str(run)], 2)
    ranks.wait_for_steps(run)
    ranks.send(rank, signal.SIGTERM)
    assert ranks.wait() == [143, 143], ranks.said()
    told = status(run)
    assert (told["state"], told["exit_code"], told["reason"]) == ("interrupted", 143, "SIGTERM")
    assert checkpoints(run)[-1] == f"step-{told['step']:07d}"
    step = told["step"]
    assert isinstance(step, int)
    run_together(tmp_path / "again", ["train", "--output-dir", str(run), "--resume", "--max-steps", str(step + 2)], 2)
    assert values(run / "steps.jsonl", "step") == list(range(1, step + 3))


def test_a_signal_during_evaluation_stops_all(
    small_command: list[str], twenty_steps: list[str], tmp_path: Path, start_ranks: Start
) -> None:
    """A signal that comes to one process at a step with an evaluation ends that on both; resumed, it is made up for."""

    def at_the_second(number: int) -> None:
        if number == 14:
            signal.raise_signal(signal.SIGTERM)

    def before(rank: int) -> None:
        if rank == 1:
            after_steps(at_the_second)

    run = tmp_path / "run"
    command = [*small_command, *twenty_steps, "--batch-size", "4", "--output-dir", str(run)]
    ranks = start_ranks(command, 2, before=before)
    assert ranks.wait() == [143, 143], ranks.said()
    assert checkpoints(run)[-1] == "step-0000014"
    assert values(run / "metrics.jsonl", "step") == [7]
    run_together(tmp_path / "again", ["train", "--output-dir", str(run), "--resume"], 2)
    assert values(run / "metrics.jsonl", "step") == [7, 14, 20]


@pytest.mark.parametrize(("engine", "victim"), [("ddp", 0), ("fsdp", 1)])
def test_a_killed_process_ends_the_others_in_bounded_time(
    small_command: list[str], tmp_path: Path, start_ranks: Start, engine: str, victim: int
) -> None:
    """SIGKILL to one of two: the other exits 69 instead of waiting for it, and says what happened in one line."""
    run = tmp_path / "run"
    ranks = start_ranks([*small_command, *LONG, *RARELY, "--engine", engine, "--output-dir", str(run)], 2)
    ranks.wait_for_steps(run)
    ranks.kill(victim)
    codes = ranks.wait()
    survivor = 1 - victim
    assert (codes[victim], codes[survivor]) == (-signal.SIGKILL, 69), ranks.said()
    last = ranks.said(survivor).strip().splitlines()[-1]
    assert last.startswith(f"textmill: error: rank {survivor} of 2 lost another process of the run"), ranks.said()
    assert "--resume" in last
    if survivor == 0:
        told = status(run)
        assert (told["state"], told["exit_code"]) == ("failed", 69)


@pytest.mark.parametrize("victim", [0, 2])
def test_a_process_that_waits_for_its_device_is_ended_too(
    small_command: list[str], tmp_path: Path, start_ranks: Start, victim: int
) -> None:
    """SIGKILL to one of three while the others are stuck in C, as NCCL leaves them: both exit 69 and name the rank."""

    def before(rank: int) -> None:
        def at_the_fourth(number: int) -> None:
            if number == 4 and rank == victim:
                os.kill(os.getpid(), signal.SIGKILL)
            if number == 4:
                ctypes.CDLL(None).sleep(300)

        peer_watch.GRACE_SECONDS = 1.0
        after_steps(at_the_fourth)

    run = tmp_path / "run"
    ranks = start_ranks([*small_command, *LONG, *RARELY, "--output-dir", str(run)], 3, before=before)
    codes = ranks.wait()
    assert codes == [-signal.SIGKILL if rank == victim else 69 for rank in range(3)], ranks.said()
    for survivor in {0, 1, 2} - {victim}:
        last = ranks.said(survivor).strip().splitlines()[-1]
        lost = f"rank {survivor} of 3 lost another process of the run (rank {victim} has ended"
        assert last.startswith(f"textmill: error: {lost}") and "--resume" in last
        if survivor == 0:
            told = status(run)
            assert (told["state"], told["exit_code"]) == ("failed", 69) and lost in str(told["reason"])


def test_a_stranger_is_not_let_in_and_a_goodbye_is_no_loss() -> None:
    """A connection without the secret changes nothing; one that leaves in order is not lost, one that breaks is."""
    port = free_port()
    store = TCPStore("127.0.0.1", port, 3, is_master=True, wait_for_workers=False)
    watches = [peer_watch.PeerWatch(rank, 3, store, "127.0.0.1") for rank in range(3)]
    with socket.create_connection(("127.0.0.1", int(store.get("textmill/watch").split()[0]))) as stranger:
        stranger.sendall(b"0" * 33)
    watches[1].leave(orderly=True)
    time.sleep(0.5)
    assert [watch.lost for watch in watches] == [None, None, None]
    watches[2].leave(orderly=False)
    deadline = time.monotonic() + 10
    while watches[0].lost is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert watches[0].lost == 2
    watches[0].leave(orderly=True)


def test_a_process_that_fails_alone_takes_the_others_with_it(
    small_command: list[str], tmp_path: Path, start_ranks: Start
) -> None:
    """A defect in one process while it trains: it exits 70, and the other 69, neither waiting for the other."""

    def fourth(number: int) -> None:
        if number == 4:
            raise ZeroDivisionError("a defect")

    def before(rank: int) -> None:
        if rank == 1:
            after_steps(fourth)

    ranks = start_ranks([*small_command, *LONG, *RARELY, "--output-dir", str(tmp_path / "run")], 2, before=before)
    assert ranks.wait() == [69, 70], ranks.said()


REFUSALS = {
    "unreadable text": (["--encoding-errors", "strict"], 65, "utf-8"),
    "world size": (["--world-size", "4"], 2, "torchrun --nproc_per_node=4"),
    "single engine": (["--engine", "single"], 2, "engine single trains in one process, and 2 were started"),
    "backend without GPUs": (["--distributed-backend", "nccl"], 2, "use gloo"),
    "tracker": (["--report-to", "mlflow"], 2, "textmill[track]"),
    "batch larger than the text": (["--batch-size", "4000"], 2, "2 processes takes 8000 rows"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_is_one_for_all_and_said_once(
    small_command: list[str], tmp_path: Path, start_ranks: Start, case: str
) -> None:
    """What only the first process can see, such as broken text, ends all of them at once, with one line in total."""
    extra, code, words = REFUSALS[case]
    if case == "backend without GPUs" and torch.cuda.is_available():
        pytest.skip("there are GPUs here")
    arguments = [
        *small_command,
        "--max-steps",
        "4",
        "--sample-steps",
        "0",
        *extra,
        "--output-dir",
        str(tmp_path / "run"),
    ]
    if case == "unreadable text":
        broken = tmp_path / "broken.txt"
        broken.write_bytes(b"some text \xff\xfe\xff" * 50)
        arguments[1] = str(broken)
    ranks = start_ranks(arguments, 2)
    assert ranks.wait() == [code, code], ranks.said()
    lines = [line for line in ranks.said().splitlines() if line.startswith("textmill: error:")]
    assert words.lower() in lines[0].lower(), ranks.said()
    assert len(lines) == 1, lines
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_full_disk_does_not_part_the_processes(small_command: list[str], tmp_path: Path, start_ranks: Start) -> None:
    """A checkpoint that the first process cannot write is said, and all train on; after three in a row all end, 74."""

    def fill(number: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))  # enough for the logs

    def before(rank: int) -> None:
        if rank == 0:
            after_steps(fill)

    run = tmp_path / "run"
    ranks = start_ranks([*small_command, *LONG, "--save-steps", "2", "--output-dir", str(run)], 2, before=before)
    assert ranks.wait() == [74, 74], ranks.said()
    assert "training continues" in ranks.said(0)
    assert ranks.said(1) == ""
    assert values(run / "steps.jsonl", "step") == [1, 2, 3, 4, 5, 6]


def test_the_same_new_run_directory_for_all(
    small_command: list[str], tmp_path: Path, start_ranks: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --output-dir the first process chooses runs/experiment_N, and the others use it."""
    monkeypatch.chdir(tmp_path)
    ranks = start_ranks([*small_command, "--max-steps", "2", "--sample-steps", "0"], 2)
    assert ranks.wait() == [0, 0], ranks.said()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["experiment_1"]


def test_a_rank_that_never_comes_is_named(
    small_command: list[str], tmp_path: Path, start_ranks: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three, one dies before it meets the others: they wait as long as they were told, exit 69 and name it once."""
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "False")

    def before(rank: int) -> None:
        if rank == 1:
            os._exit(7)

    ranks = start_ranks([*small_command, "--rendezvous-timeout", "2"], 3, before=before)
    assert ranks.wait(20) == [69, 7, 69], ranks.said()
    assert "rank 1 of 3 did not come within 2 s: rank 0 waited at 127.0.0.1:" in ranks.said(0)
    assert "--rendezvous-timeout waits longer" in ranks.said(0)
    assert "rank 1 of 3" in ranks.said(2) or ranks.said(2) == ""


@pytest.mark.parametrize("waiting", [0, 1])
def test_a_signal_ends_the_waiting_for_others(
    small_command: list[str], tmp_path: Path, start_ranks: Start, waiting: int
) -> None:
    """SIGTERM to a process that waits for one that never comes: 143 at once, whether it serves the store or not."""

    def before(rank: int) -> None:
        if rank != waiting:
            os._exit(7)
        threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM)).start()

    ranks = start_ranks(small_command, 2, before=before)
    assert ranks.wait(10)[waiting] == 143, ranks.said()
    assert ranks.said(waiting) == "textmill: error: interrupted\n"


def test_a_rank_that_is_lost_while_all_connect(
    small_command: list[str], tmp_path: Path, start_ranks: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One dies after it has come and before it is connected to the others: they do not wait for hours either."""

    def before(rank: int) -> None:
        if rank == 1:
            store = TCPStore("127.0.0.1", int(os.environ["MASTER_PORT"]), 2, wait_for_workers=False)
            store.set("textmill/arrived/1", "")
            os._exit(7)

    ranks = start_ranks([*small_command, "--rendezvous-timeout", "2"], 2, before=before)
    assert ranks.wait(20) == [69, 7], ranks.said()
    assert "another process of the run was lost: rank 0 of 2 waited 2 s for the connection to all others" in ranks.said(
        0
    )


def test_a_process_that_finds_nobody_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two processes, alone: it ends with exit code 69 once its patience is over, not never."""
    from textmill.engine.world import join_world
    from textmill.errors import ConfigError, PeerLostError

    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="the environment variable MASTER_PORT is not; start the run with torchrun"):
        join_world("cpu")
    monkeypatch.setenv("MASTER_PORT", "http")
    with pytest.raises(ConfigError, match="MASTER_PORT is 'http', not a port"):
        join_world("cpu")
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    with pytest.raises(PeerLostError, match="rank 0 of 2 did not come within 1 s: rank 1 waited at "):
        join_world("cpu", rendezvous_seconds=1)
    monkeypatch.setenv("RANK", "two")
    with pytest.raises(ConfigError, match="RANK is 'two'"):
        join_world("cpu")


@pytest.mark.slow
def test_torchrun_names_a_rank_that_never_comes(small_command: list[str], tmp_path: Path) -> None:
    """torchrun serves the store; a worker that exits well without having come is named by the other, which exits 69."""
    script = tmp_path / "worker.py"
    script.write_text(
        "import os, sys\n"
        "if os.environ['RANK'] == '1':\n"
        "    import time; time.sleep(20); sys.exit(0)\n"
        "from textmill.cli.main import main\n"
        "code = main(sys.argv[1:])\n"
        "open('code.txt', 'w').write(str(code))\n"
        "sys.exit(code)\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}"]
    command += [str(script), *small_command, "--rendezvous-timeout", "3", "--output-dir", str(tmp_path / "run")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 1
    assert (tmp_path / "code.txt").read_text() == "69", done.stderr
    assert "textmill: error: rank 1 of 2 did not come within 3 s: rank 0 waited at " in done.stderr


@pytest.mark.parametrize("engine", ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_two_processes_roll_back_together(tmp_path: Path, start_ranks: Start, engine: str) -> None:
    """A jolt of the weights in both at step 40: both restore the same checkpoint and end with the same table."""

    def before(rank: int) -> None:
        def jolt(optimizer: Optimizer, arguments: object, options: object) -> None:
            taken.append(1)
            if len(taken) == 40:
                with torch.no_grad():
                    for group in optimizer.param_groups:
                        for parameter in group["params"]:
                            parameter.mul_(4.0)

        taken: list[int] = []
        register_optimizer_step_post_hook(jolt)

    text = tmp_path / "book.txt"
    text.write_text("The miller ground the corn, and the river ground the stones. " * 100)
    run = tmp_path / "run"
    command = [
        *("train", str(text), "--cache-dir", str(tmp_path / "cache"), "--tokenizer", "byte", "--d-model", "16"),
        *("--num-layers", "1", "--num-heads", "2", "--max-seq-len", "32", "--batch-size", "2", "--optimizer", "adamw"),
        *("--learning-rate", "1e-2", "--max-steps", "50", "--logging-steps", "5", "--save-steps", "10"),
        *("--eval-steps", "50", "--sample-steps", "0", "--on-spike", "rollback", "--output-dir", str(run)),
        *("--engine", engine),
    ]
    ranks = start_ranks(command, 2, before=before)
    assert ranks.wait() == [0, 0], ranks.said()
    assert "rolled back to step 30 (number 1 of at most 5)" in ranks.said(0)
    assert values(run / "steps.jsonl", "step") == list(range(5, 51, 5))
    last = json.loads((run / "steps.jsonl").read_text().splitlines()[-1])
    assert (last["loss_spikes"], last["rollbacks"]) == (1, 1)
    assert last["train_loss"] < 2.9
