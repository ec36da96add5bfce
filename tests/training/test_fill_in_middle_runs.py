"""Runs with fill-in-the-middle: resumed bit for bit, said, off without a trace, refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.run_commands import assert_same_run, rows
from textmill.checkpoint.model_folder import load_model
from textmill.cli.main import main
from textmill.tokenizers.fim_tokens import fim_names

SOURCE = "def area(width, height):\n    return width * height\n\n\nprint(area(2, 3))  # six\n"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> list[str]:
    folder = tmp_path_factory.mktemp("code")
    for number in range(12):
        (folder / f"a{number}.py").write_text(SOURCE.replace("six", f"number {number}") * (1 + number % 3))
    return [
        *("train", str(folder), "--cache-dir", str(cache_dir), "--sample-steps", "0", "--batch-size", "4"),
        *("--d-model", "32", "--num-layers", "1", "--num-heads", "2", "--max-seq-len", "64", "--save-steps", "3"),
        *("--learning-rate", "3e-3", "--eval-steps", "3", "--logging-steps", "1", "--precision", "fp32"),
    ]


def test_a_resumed_run_is_the_uninterrupted_one(base: list[str], tmp_path: Path) -> None:
    """What is divided, and where, needs nothing from a checkpoint, with packing, masks and reading ahead too."""
    flags = [
        *("--tokenizer", "byte", "--fim-rate", "0.7", "--fim-format", "both"),
        *("--packing-strategy", "best_fit", "--mask-documents", "--max-steps", "6"),
    ]
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    assert main([*base, *flags, "--output-dir", str(whole)]) == 0
    assert main([*base, *flags, "--num-workers", "2", "--output-dir", str(halves)]) == 0
    assert_same_run(whole, halves)
    assert main(["train", "--resume-from", str(halves / "checkpoints" / "step-0000003")]) == 0
    assert_same_run(whole, halves)
    assert "fill-in-the-middle: 70% of the documents in a row, both" in (whole / "train.log").read_text()
    assert main(["train", "--resume", "--output-dir", str(halves), "--fim-rate", "0.5"]) == 78


def test_validation_is_on_plain_rows(base: list[str], tmp_path: Path) -> None:
    """The validation set has as many targets and, before anything is learned, the same loss whatever the rate."""
    losses = {}
    for rate in ("0.5", "1"):
        folder = tmp_path / rate
        untaught = ["1e-12" if flag == "3e-3" else flag for flag in base]  # a learning rate that changes nothing
        flags = ["--tokenizer", "byte", "--fim-rate", rate, "--max-steps", "1"]
        assert main([*untaught, *flags, "--output-dir", str(folder)]) == 0
        last = rows(folder / "metrics.jsonl")[-1]
        losses[rate] = (last["val_tokens"], round(last["val_loss"], 5))
    assert losses["0.5"] == losses["1"]


def test_a_model_without_the_tokens_learns_them_later(
    base: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--init-from a plain model is refused with the flag that adds the tokens, and goes on with it."""
    first, second = tmp_path / "first", tmp_path / "second"
    assert main([*base, "--tokenizer", "byte", "--max-steps", "1", "--output-dir", str(first)]) == 0
    more = [*base, "--init-from", str(first), "--fim-rate", "0.5", "--max-steps", "1", "--output-dir", str(second)]
    capsys.readouterr()
    assert main(more) == 2
    assert "add them with --extend-vocab" in capsys.readouterr().err and not second.exists()
    assert main([*more, "--extend-vocab"]) == 0
    tokenizer = load_model(second).tokenizer
    assert tokenizer is not None and tokenizer.vocab_size == 260 and fim_names(tokenizer) is not None
    assert "3 rows of the embeddings are new" in (second / "train.log").read_text()
