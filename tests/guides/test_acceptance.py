"""Promises that no other room's tests keep: they are about whole runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from textmill.checkpoint.find_model import resolve_checkpoint
from textmill.cli.main import main

Says = Callable[..., str]

TINY = ["--tokenizer", "byte", "--d-model", "32", "--num-layers", "1", "--num-heads", "2", "--max-seq-len", "32"]
TINY += ["--batch-size", "8", "--sample-steps", "0"]


def test_the_best_model_is_the_best_evaluated_and_stays(guide_folder: Path, textmill_says: Says, text: str) -> None:
    """best_model/ scores the lowest loss of all rows, though later models are worse, one checkpoint is kept, and the
    run was resumed in between."""
    (guide_folder / "small.txt").write_text(text[:1500])
    words = ["train", "small.txt", "--output-dir", "run", *TINY, "--learning-rate", "3e-2", "--eval-steps", "20"]
    words += ["--save-total-limit", "1", "--lr-schedule", "constant", "--optimizer", "muon"]
    words += ["--weight-decay", "0.1", "--warmup-ratio", "0.05", "--dropout", "0"]
    textmill_says(*words, "--max-steps", "100")
    textmill_says(*words, "--max-steps", "160", "--resume")
    losses = [
        json.loads(line)["val_loss"] for line in (guide_folder / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert losses[-1] > min(losses) + 0.1
    assert resolve_checkpoint("run/best") != resolve_checkpoint("run/last")  # and so does its checkpoint
    scored = json.loads(textmill_says("evaluate", "run/best", "--json"))
    assert scored["loss"] == pytest.approx(min(losses), abs=1e-4)
    assert json.loads(textmill_says("evaluate", "run/last", "--json"))["loss"] == pytest.approx(losses[-1], abs=1e-4)


@pytest.mark.parametrize(
    ("words", "code", "names"),
    [
        (["empty.txt"], 65, "empty.txt"),
        (["nowhere.txt"], 66, "nowhere.txt"),
        (["data/train.npy", "--vocab-size", "100"], 65, "100"),
        (["data.txt", "--model-dim", "256", "--num-heads", "7"], 2, "heads"),
        (["data.txt", "--config", "unknown.yaml"], 2, "learning_rat"),
        (["data.txt", "--batch-sise", "4"], 2, "--batch-size"),
        (["data.txt", "--epochs", "many"], 2, "--epochs"),
        (["data.txt", "--metrics", "nowhere:score"], 2, "nowhere"),
        (["data.txt", "--optimizer", "math:pi"], 2, "math:pi"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    guide_folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, names: str
) -> None:
    """An exit code, one line that names what is wrong, no traceback, and no folder of a run."""
    (guide_folder / "empty.txt").write_text("")
    (guide_folder / "unknown.yaml").write_text("learning_rat: 3e-4\n")
    assert main(["train", *words, "--output-dir", "run"]) == code
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("textmill: error:")
    assert names in lines[-1]
    assert not any("Traceback" in line for line in lines)
    assert not (guide_folder / "run").exists()


def test_a_tiny_text_shrinks_what_does_not_fit(guide_folder: Path, textmill_says: Says, text: str) -> None:
    """A vocabulary of 8000 and a warm-up of 1000 steps become what a page of text allows, each said in a line; rows
    longer than the text, and a learning rate in quotes, are no obstacle."""
    (guide_folder / "page.txt").write_text(text[:2000])
    (guide_folder / "quoted.yaml").write_text('learning_rate: "3e-4"\nvocab_size: 8000\nwarmup_steps: 1000\n')
    out = textmill_says(
        *(
            "train",
            "page.txt",
            "--config",
            "quoted.yaml",
            "--output-dir",
            "run",
            "--tokenizer",
            "bpe",
            "--d-model",
            "32",
        ),
        *("--num-layers", "1", "--num-heads", "2", "--max-seq-len", "1024", "--batch-size", "1", "--max-steps", "3"),
    )
    assert " instead of 8000, because the text has no more pairs" in out
    assert "warmup_steps: 0 instead of 1000" in out
    assert json.loads((guide_folder / "run" / "metrics.jsonl").read_text().splitlines()[-1])["learning_rate"] <= 3e-4
