"""Runs on packed, masked and changed rows: assembled from the configuration, told, resumed bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.run_commands import assert_same_run, rows
from textmill.cli.main import main
from textmill.evaluation import evaluate_model


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty short documents."""
    path = tmp_path_factory.mktemp("stories") / "stories.jsonl"
    texts = [f"Story {number}. " + "The miller ground the corn. " * (1 + number % 5) for number in range(60)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


@pytest.fixture(scope="module")
def base(stories: Path, cache_dir: Path) -> list[str]:
    return [
        *(
            "train",
            str(stories),
            "--cache-dir",
            str(cache_dir),
            "--sample-steps",
            "0",
            "--batch-size",
            "4",
            "--seed",
            "3",
        ),
        *("--d-model", "32", "--num-layers", "1", "--num-heads", "2", "--max-seq-len", "64", "--save-steps", "4"),
        *("--learning-rate", "3e-3", "--eval-steps", "4", "--logging-steps", "2", "--precision", "fp32"),
    ]


WAYS = {
    "greedy": ["--packing-strategy", "greedy"],
    "first_fit": ["--packing-strategy", "first_fit", "--mask-documents"],
    "best_fit": ["--packing-strategy", "best_fit"],
    "alone": ["--pack-sequences", "false"],
    "masked": ["--mask-documents"],
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_make_rows_trains_and_is_told(base: list[str], tmp_path: Path, way: str) -> None:
    """The opening says how rows are made and how full they are; validation scores the same targets anyway."""
    folder = tmp_path / "run"
    assert main([*base, *WAYS[way], "--tokenizer", "byte", "--max-steps", "8", "--output-dir", str(folder)]) == 0
    (line,) = [line for line in (folder / "train.log").read_text().splitlines() if line.startswith("rows ")]
    assert "% filled" in line and ("each document on its own" if way == "alone" else "document") in line
    assert ("hidden from each other" in line) == ("--mask-documents" in WAYS[way])
    last = rows(folder / "metrics.jsonl")[-1]
    assert last["val_loss"] < 5.6
    again = evaluate_model(folder / "final", device="cpu", precision="fp32")
    assert again["loss"] == pytest.approx(last["val_loss"], abs=1e-5)
    plain = tmp_path / "plain"
    assert main([*base, "--tokenizer", "byte", "--max-steps", "1", "--output-dir", str(plain)]) == 0
    assert rows(plain / "metrics.jsonl")[-1]["val_tokens"] == last["val_tokens"]


def test_resuming_in_changed_packed_rows_is_exact(base: list[str], tmp_path: Path) -> None:
    """Augmentation, packing, masks and reading ahead leave nothing behind that a checkpoint would have to hold."""
    flags = [
        *("--packing-strategy", "best_fit", "--mask-documents", "--tokenizer", "char"),
        *("--augmentation", "case,punctuation,whitespace", "--augmentation-prob", "0.3"),
    ]
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    assert main([*base, *flags, "--max-steps", "12", "--output-dir", str(whole)]) == 0
    assert main([*base, *flags, "--max-steps", "12", "--num-workers", "2", "--output-dir", str(halves)]) == 0
    assert_same_run(whole, halves)
    for name in ("final", "best_model"):
        assert (halves / name).is_dir()
    assert main(["train", "--resume-from", str(halves / "checkpoints" / "step-0000008")]) == 0
    assert_same_run(whole, halves)
    plain = tmp_path / "plain"
    assert main([*base, *flags[:5], "--max-steps", "12", "--output-dir", str(plain)]) == 0
    one, other = rows(whole / "metrics.jsonl"), rows(plain / "metrics.jsonl")
    assert [row["val_tokens"] for row in one] == [row["val_tokens"] for row in other]
    assert one[-1]["val_loss"] != other[-1]["val_loss"]


def test_what_has_no_effect_or_no_meaning_is_said(
    base: list[str], book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One document cannot be packed; BPE cannot be augmented, and nothing is written then."""
    arguments = [str(book) if argument.endswith(".jsonl") else argument for argument in base]
    flags = ["--packing-strategy", "first_fit", "--tokenizer", "byte", "--max-steps", "2"]
    assert main([*arguments, *flags, "--output-dir", str(tmp_path / "one")]) == 0
    assert "packing_strategy first_fit has no effect: the text to train on is a single document" in (
        capsys.readouterr().out
    )
    refused = ["--augmentation", "case", "--tokenizer", "bpe", "--output-dir", str(tmp_path / "bpe")]
    assert main([*base, *refused]) == 2
    assert "augmentation changes characters" in capsys.readouterr().err and not (tmp_path / "bpe").exists()
