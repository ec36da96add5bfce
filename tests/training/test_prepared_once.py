"""Text is prepared once: a resumed, repeated, previewed or evaluated run finds what the first one prepared."""

from __future__ import annotations

import importlib
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from support.run_commands import Command
from textmill.cli.main import main
from textmill.evaluation import evaluate_model
from textmill.runs.read_run import read_environment

TINY = [
    *("--d-model", "16", "--num-layers", "1", "--num-heads", "1", "--max-seq-len", "8", "--batch-size", "1"),
    *("--max-steps", "2", "--device", "cpu", "--sample-steps", "0"),
]
TEN_CHARACTERS = "0123456789"


def prepared(cache: Path) -> dict[str, os.stat_result]:
    """Return every file of every corpus in a cache: a corpus that is made again has other files."""
    return {str(path): path.stat() for path in sorted((cache / "corpora").rglob("*")) if path.is_file()}


def train(*arguments: str | Path) -> None:
    assert main(["train", *map(str, arguments)]) == 0


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        (TEN_CHARACTERS, ["--tokenizer", "byte"]),
        ("The miller grinds corn. " * 300, ["--tokenizer", "bpe"]),
        ("The miller grinds corn. " * 300, ["--tokenizer", "bpe", "--vocab-size", "5000"]),
        ("The miller grinds corn. " * 300, ["--tokenizer", "unigram", "--vocab-size", "5000"]),
        ("The miller grinds corn. " * 300, ["--preset", "tiny", "--val-split", "0.1"]),
    ],
)
def test_the_same_text_is_prepared_once(tmp_path: Path, text: str, flags: list[str]) -> None:
    """Also ten characters, whose default share is enlarged, and a vocabulary larger than the text can fill."""
    book, cache, run = tmp_path / "book.txt", tmp_path / "cache", tmp_path / "run"
    book.write_text(text)
    train(book, *flags, *TINY, "--cache-dir", cache, "--output-dir", run)
    made = prepared(cache)
    assert len(list((cache / "corpora").iterdir())) == 1
    train("--output-dir", run, "--resume", "--max-steps", "3")
    train("--config", run / "config.yaml", "--output-dir", tmp_path / "repeated")
    train("--config", run, "--output-dir", tmp_path / "rehearsed", "--dry-run")
    learned = read_environment(run)["vocab_size"]
    train("--output-dir", run, "--resume", "--max-steps", "4", "--vocab-size", str(learned))
    assert prepared(cache) == made

    expected = evaluate_model(run / "final")
    folder = next((cache / "corpora").iterdir())
    shutil.rmtree(folder)
    assert evaluate_model(run / "final")["loss"] == expected["loss"]  # reads the text again, for the same corpus
    assert [path.name for path in (cache / "corpora").iterdir()] == [folder.name]
    train("--output-dir", run, "--resume", "--max-steps", "4")
    assert [path.name for path in (cache / "corpora").iterdir()] == [folder.name]


@pytest.mark.parametrize("count", [3, pytest.param(6, marks=pytest.mark.slow)])
def test_runs_started_at_once_prepare_one_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """All but one wait for it, which they say in a line, and use what it made; nothing else is left."""
    book, cache, marks = tmp_path / "book.txt", tmp_path / "cache", tmp_path / "marks"
    book.write_text("The miller grinds corn. " * 3000)
    marks.write_text("")
    prepare_module = importlib.import_module("textmill.data.prepare")  # the package has a function of this name
    real = prepare_module.prepare_text

    def noted(*given: Any) -> Any:
        with marks.open("a") as file:
            file.write("made\n")
        time.sleep(2)  # until the others are there
        return real(*given)

    monkeypatch.setattr(prepare_module, "prepare_text", noted)
    flags = ["--tokenizer", "bpe", *TINY, "--cache-dir", str(cache)]
    runs = [tmp_path / f"run-{number}" for number in range(count)]
    commands = [Command(["train", str(book), *flags, "--output-dir", str(run)]) for run in runs]
    assert [command.wait() for command in commands] == [0] * count
    assert marks.read_text() == "made\n" and len(list((cache / "corpora").iterdir())) == 1
    logs = [(run / "train.log").read_text() for run in runs]
    assert sum(log.count("another process is preparing this text: waiting for it") for log in logs) == count - 1
    assert len({read_environment(run)["identity"]["data"] for run in runs}) == 1
