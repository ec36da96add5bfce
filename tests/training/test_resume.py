"""Killed anywhere is never killed: a resumed run is the run that was never stopped, bit for bit."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch.utils.hooks import RemovableHandle

from support.run_commands import Command, assert_same_run, wait_for
from support.run_moments import after_steps
from textmill.checkpoint.manifest import write_manifest
from textmill.cli.main import main
from textmill.config import load_config
from textmill.console.screen import Screen
from textmill.training import steps
from textmill.training.assemble import assemble

LENGTH = ["--epochs", "2.5", "--eval-steps", "7", "--early-stopping-patience", "50"]
SAVES = ["--save-steps", "5"]


@pytest.fixture(scope="session")
def whole_run(small_command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of about 60 steps."""
    folder = tmp_path_factory.mktemp("golden") / "run"
    assert main([*small_command, *LENGTH, *SAVES, "--output-dir", str(folder)]) == 0
    return folder


def wait_for_step(running: Command, folder: Path, step: int) -> None:
    """Wait until the run has logged a step of at least `step`, or has ended."""
    logged = 0
    while logged < step and running.process.is_alive():
        time.sleep(0.002)
        lines = (folder / "steps.jsonl").read_bytes().splitlines() if (folder / "steps.jsonl").exists() else []
        logged = max((json.loads(line)["step"] for line in lines if line.endswith(b"}")), default=0)


def duration_of(folder: Path) -> float:
    return json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["elapsed_time"]


def test_the_same_run_twice_is_the_same(small_command: list[str], whole_run: Path, tmp_path: Path) -> None:
    """Two runs of one configuration are equal; every other test here relies on it."""
    assert main([*small_command, *LENGTH, *SAVES, "--output-dir", str(tmp_path / "again")]) == 0
    assert_same_run(whole_run, tmp_path / "again")


@pytest.mark.slow
def test_five_kills_at_random_instants_leave_no_trace(
    small_command: list[str], whole_run: Path, tmp_path: Path, start_command: Callable[[list[str]], Command]
) -> None:
    """SIGKILL at five random instants, each followed by --resume, ends in the same bits and the same logs."""
    clock = random.Random(11)
    folder = tmp_path / "killed"
    codes = []
    for first in range(3, 48, 9):
        begin = ["train", "--resume"] if codes else [*small_command, *LENGTH, *SAVES]
        running = start_command([*begin, "--output-dir", str(folder)])
        wait_for_step(running, folder, clock.randrange(first, first + 9))
        codes.append(running.kill_after(clock.uniform(0, 0.05)))
    assert codes == [-signal.SIGKILL] * 5
    assert start_command(["train", "--output-dir", str(folder), "--resume"]).wait() == 0
    assert_same_run(whole_run, folder)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow)],
)
def test_signals_save_and_exit(
    small_command: list[str],
    whole_run: Path,
    tmp_path: Path,
    start_command: Callable[[list[str]], Command],
    number: int,
    code: int,
) -> None:
    """Each signal, wherever it hits, saves a checkpoint and has its own exit code; resumed, the run is whole."""
    clock = random.Random(number)
    folder = tmp_path / "stopped"
    start = [*small_command, *LENGTH, "--save-steps", "1000", "--output-dir", str(folder)]
    codes = []
    for attempt in range(3):
        running = start_command(start if attempt == 0 else ["train", "--output-dir", str(folder), "--resume"])
        if attempt == 0:
            wait_for(folder / "steps.jsonl")
        time.sleep(0.2)
        seconds = min(duration_of(whole_run), 4.0)  # the whole run may have met a busier machine
        codes.append(running.kill_after(clock.uniform(0.05, 0.3) * seconds, number))
        if codes[-1] == code:
            status = json.loads((folder / "status.json").read_text())
            assert (status["state"], status["exit_code"], status["resumable"]) == ("interrupted", code, True)
            assert (folder / "checkpoints" / f"step-{status['step']:07d}").is_dir()
    assert codes[0] == code
    assert start_command(["train", "--output-dir", str(folder), "--resume"]).wait() == 0
    assert_same_run(whole_run, folder)


def signal_after(step: int, number: int) -> RemovableHandle:
    """The `step`th optimizer step inside the block ends with this signal, before what is due after the step."""
    return after_steps(lambda taken: signal.raise_signal(number) if taken == step else None)


def write_in_format_1(checkpoint: Path) -> None:
    """Rewrite a checkpoint's state as textmill wrote it before format 2."""
    state = json.loads((checkpoint / "state.json").read_text())
    state["format"] = 1
    state["progress"]["chores_pending"] = state["progress"].pop("actions_pending")
    del state["progress"]["spikes"], state["progress"]["rollbacks"]
    (checkpoint / "state.json").write_text(json.dumps(state, indent=1))
    write_manifest(checkpoint, state["progress"]["step"])


@pytest.mark.parametrize("format", [1, 2])
def test_actions_that_a_signal_interrupts_are_done_after_the_resume(
    small_command: list[str], whole_run: Path, tmp_path: Path, format: int
) -> None:
    """A signal inside evaluation or sampling discards what was half done; the resumed run does it again, once.

    So does one that resumes from a checkpoint of the format before.
    """
    folder = tmp_path / "run"

    with signal_after(14, signal.SIGTERM):
        assert main([*small_command, *LENGTH, *SAVES, "--output-dir", str(folder)]) == 143
    assert not (folder / "metrics.jsonl").read_text().count('"step": 14')
    last = sorted((folder / "checkpoints").iterdir())[-1]
    assert json.loads((last / "state.json").read_text())["progress"]["actions_pending"]
    if format == 1:
        write_in_format_1(last)
    samples = [json.loads(line)["step"] for line in (whole_run / "samples.jsonl").read_text().splitlines()]
    sampled = next(step for step in samples if step > 14 and step % 7)  # it is no step with an evaluation
    with signal_after(sampled - 14, signal.SIGINT):
        assert main(["train", "--output-dir", str(folder), "--resume"]) == 130
    assert main(["train", "--output-dir", str(folder), "--resume"]) == 0
    assert_same_run(whole_run, folder)


def test_early_stopping_is_carried_over(small_command: list[str], tmp_path: Path) -> None:
    """Patience counts on across a stop: a run stopped early ends at the same step, resumed or not."""
    stops = ["--max-steps", "400", "--eval-steps", "2", "--save-steps", "2", "--early-stopping-patience", "2"]
    stops += ["--early-stopping-min-delta", "0.08"]
    assert main([*small_command, *stops, "--output-dir", str(tmp_path / "whole")]) == 0
    status = json.loads((tmp_path / "whole" / "status.json").read_text())
    assert status["reason"] == "early stopping"
    assert status["step"] < 200
    halves = tmp_path / "halves"
    stopped_at = status["step"] - 1  # one evaluation without improvement has been counted by then
    with signal_after(stopped_at, signal.SIGTERM):
        assert main([*small_command, *stops, "--output-dir", str(halves)]) == 143
    assert main(["train", "--output-dir", str(halves), "--resume"]) == 0
    assert json.loads((halves / "status.json").read_text())["step"] == status["step"]
    assert_same_run(tmp_path / "whole", halves)


def test_a_run_limited_by_time_acts_as_often_after_a_stop(book: Path, cache_dir: Path, tmp_path: Path) -> None:
    """Its length is planned after twenty steps; resumed, it evaluates, samples and saves when it was to before."""
    shape: dict[str, Any] = {"d_model": 32, "num_layers": 1, "num_heads": 2, "max_seq_len": 32, "batch_size": 4}
    config = load_config(
        data=str(book),
        cache_dir=str(cache_dir),
        tokenizer="byte",
        max_time="1h",
        output_dir=str(tmp_path / "run"),
        **shape,
    )
    planned = []
    for resume in (False, True):
        config.resume = resume
        with assemble(config, screen=Screen(quiet=True), on_signal="return") as run:
            for step in steps(run):
                if step.number >= 22:
                    run.signals.raised = signal.SIGTERM
            planned.append((run.progress.total_steps, run.eval_every, run.sample_every, run.save_every))
    assert planned[0] == planned[1]
    assert planned[0][1].steps and planned[0][1] == replace(planned[0][2], first=None)  # one sample more, early on
