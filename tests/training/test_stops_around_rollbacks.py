"""A run that is stopped around a rollback is the run that is not, whatever its optimizer, precision and engine."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from support.poisoned_text import LENGTH, poisoned_command, records
from support.rank_processes import Ranks, run_together
from support.run_commands import rows
from support.run_moments import after_steps

ONE_KEPT = ["--max-steps", "90", "--save-steps", "10", "--eval-steps", "90", "--save-total-limit", "1"]
EARLY = ["--max-steps", "90", "--save-steps", "10", "--eval-steps", "5", "--early-stopping-patience", "3"]
MUON = ["--optimizer", "muon", "--learning-rate", "3e-3"]


@pytest.mark.parametrize(
    ("options", "size"),
    [
        pytest.param(ONE_KEPT, 1, id="one checkpoint kept"),
        pytest.param([*EARLY, "--save-total-limit", "1"], 1, marks=pytest.mark.slow, id="early stopping"),
        pytest.param([*LENGTH, *MUON], 1, marks=pytest.mark.slow, id="muon"),
        pytest.param([*LENGTH, "--precision", "fp16"], 1, marks=pytest.mark.slow, id="fp16 with a scale"),
        pytest.param([*LENGTH, "--gradient-accumulation-steps", "2"], 1, marks=pytest.mark.slow, id="accumulation"),
        pytest.param([*LENGTH, *MUON, "--engine", "ddp"], 2, marks=pytest.mark.slow, id="ddp"),
        pytest.param([*LENGTH, *MUON, "--engine", "fsdp"], 2, marks=pytest.mark.slow, id="fsdp"),
    ],
)
def test_stopped_around_a_rollback_it_is_the_same_run(tmp_path: Path, options: list[str], size: int) -> None:
    """Stopped by SIGTERM at the spike, before it is found, and again in the replayed steps: same weights, same logs.

    The checkpoint of a stop neither replaces the one to return to, nor is one that the whole run would lack.
    """
    command = spell_again([*poisoned_command(tmp_path), "--on-spike", "rollback"], options)
    if size > 1 or "--gradient-accumulation-steps" in options:
        command = spell_again(command, ["--batch-size", "1"])
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run_together(tmp_path / "said", [*command, "--output-dir", str(whole)], size)
    [first, *_] = records(whole)

    def stop_after(number: int) -> Callable[[int], object]:
        return lambda rank: after_steps(lambda taken: os.kill(os.getpid(), signal.SIGTERM) if taken == number else None)

    starts = [*command, "--output-dir", str(stopped)]
    again = ["train", "--output-dir", str(stopped), "--resume"]
    assert Ranks(tmp_path / "0", starts, size, before=stop_after(first["spike_step"])).wait() == [143] * size
    undone = -(-first["spike_step"] // 4) * 4 - first["spike_step"]  # steps to the report that finds it
    assert Ranks(tmp_path / "1", again, size, before=stop_after(undone + 4)).wait() == [143] * size
    run_together(tmp_path / "2", again, size)
    for name in ("metrics.jsonl", "steps.jsonl", "samples.jsonl"):
        assert rows(whole / name) == rows(stopped / name), name
    last = max((whole / "checkpoints").glob("step-*")).name
    for folder in (f"checkpoints/{last}", "final", "best_model"):
        files = {path.name: path.read_bytes() for path in (whole / folder).glob("*.safetensors")}
        assert files == {path.name: path.read_bytes() for path in (stopped / folder).glob("*.safetensors")}, folder
    assert records(whole) == records(stopped)


def spell_again(command: list[str], options: list[str]) -> list[str]:
    """Return the command with other values of its flags, and with those that it lacks."""
    command = list(command)
    for flag, value in zip(options[::2], options[1::2]):
        if flag in command:
            command[command.index(flag) + 1] = value
        else:
            command += [flag, value]
    return command
