"""What a run that has ended advises, followed to the letter."""

from __future__ import annotations

import json
import shlex
import signal
from pathlib import Path

import pytest

from support.run_moments import after_steps
from textmill.cli.main import main

STEADY = ["--max-steps", "20", "--eval-steps", "5", "--sample-steps", "0", "--lr-schedule", "wsd"]
OVERFITTING = ["--tokenizer", "byte", "--d-model", "64", "--num-layers", "2", "--num-heads", "2", "--max-seq-len", "32"]
OVERFITTING += ["--optimizer", "muon", "--learning-rate", "2e-2", "--batch-size", "8", "--dropout", "0"]
OVERFITTING += ["--max-steps", "160", "--eval-steps", "40", "--sample-steps", "0"]


def end_screen(captured: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Return the fields printed from `ended` on, by name; a field that is broken over lines is joined."""
    out = captured.readouterr().out
    fields: dict[str, str] = {}
    name = ""
    for line in out[out.rindex("\nended ") + 1 :].splitlines():
        name = line[:12].strip() or name
        fields[name] = f"{fields.get(name, '')} {line[12:].strip()}".strip()
    return fields


def command(screen: dict[str, str]) -> list[str]:
    """Return the words of the command after `next`, without the program's name."""
    words = shlex.split(screen["next"])
    return words[next(index for index, word in enumerate(words) if word in ("train", "report")) :]


def test_following_next_three_times_never_makes_the_best_model_worse(
    small_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that ends while it learns names a command that continues it; measured anew, the model is never worse."""
    folder = tmp_path / "run"
    arguments = [*small_command, *STEADY, "--output-dir", str(folder)]
    losses = []
    for session in range(4):
        assert main(arguments) == 0
        arguments = command(end_screen(capsys))
        assert main(["evaluate", str(folder), "--json"]) == 0
        losses.append(json.loads(capsys.readouterr().out)["loss"])
        assert session or arguments[0] == "train"
        if arguments[0] == "report":
            assert main(arguments) == 0
            break
    assert losses == sorted(losses, reverse=True)
    assert losses[1] < losses[0]


def test_the_end_of_a_run_that_overfitted_says_so(
    book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where it was measured too rarely to be told before; the model that is named is the best one."""
    text = tmp_path / "short.txt"
    text.write_text(book.read_text()[:1500])
    folder = tmp_path / "run"
    assert main(["train", str(text), *OVERFITTING, "--output-dir", str(folder)]) == 0
    screen = end_screen(capsys)
    assert "the model is overfitting" in screen["advice"]
    assert f"{folder / 'best_model'}, of step" in screen["model"]
    assert command(screen) == ["report", str(folder)]
    assert main(command(screen)) == 0


def test_a_run_that_is_stopped_names_the_command_that_continues_it(
    small_command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not a longer run: this one has not ended."""

    arguments = [*small_command, *STEADY, "--output-dir", str(tmp_path / "run")]
    with after_steps(lambda step: signal.raise_signal(signal.SIGTERM) if step == 8 else None):
        assert main(arguments) == 143
    assert command(end_screen(capsys)) == ["train", "--output-dir", str(tmp_path / "run"), "--resume"]


def test_a_stopped_run_that_overfits_is_not_continued(
    book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """More of the same makes it no better: the report shows the best step."""
    text = tmp_path / "short.txt"
    text.write_text(book.read_text()[:1500])
    folder = tmp_path / "run"
    with after_steps(lambda step: signal.raise_signal(signal.SIGTERM) if step == 150 else None):
        assert main(["train", str(text), *OVERFITTING, "--output-dir", str(folder)]) == 143
    screen = end_screen(capsys)
    assert "the model is overfitting" in screen["advice"]
    assert command(screen) == ["report", str(folder)]
