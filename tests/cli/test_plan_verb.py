"""textmill plan and train --dry-run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from textmill.cli.main import main

SMALL = ["--d-model", "32", "--num-layers", "1", "--num-heads", "2", "--max-seq-len", "16", "--batch-size", "4"]


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt"
    path.write_text("The quick brown fox jumps over the lazy dog.\n" * 60)
    return path


def test_the_plan_is_a_table(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The page has every part of the answer, and says what is exact and what is estimated."""
    assert main(["plan", str(book), "--tokenizer", "byte", "--epochs", "2", "--tokens-per-second", "1000", *SMALL]) == 0
    shown = capsys.readouterr().out
    for word in (
        "model",
        "parameters",
        "data",
        "length",
        "disk",
        "time",
        "memory",
        "exact",
        "estimated",
        "most at once",
    ):
        assert word in shown
    assert max(map(len, shown.splitlines())) <= 120


def test_plan_and_dry_run_agree_and_write_nothing(
    book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of bytes, size tells the tokens: both verbs find the same run; neither leaves a file of a run."""
    monkeypatch.chdir(tmp_path)
    words = [
        str(book),
        "--tokenizer",
        "byte",
        "--epochs",
        "2",
        "--precision",
        "fp32",
        "--device",
        "cpu",
        "--json",
        *SMALL,
    ]
    assert main(["plan", *words]) == 0
    planned = json.loads(capsys.readouterr().out)
    assert main(["train", *words, "--dry-run", "--output-dir", "run", "--cache-dir", "cache"]) == 0
    rehearsed = json.loads(capsys.readouterr().out)
    assert planned["text"]["estimated"] and not rehearsed["text"]["estimated"]
    assert planned["steps"] == pytest.approx(rehearsed["steps"], rel=0.02)
    assert planned["memory"]["weights"] == rehearsed["memory"]["weights"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["book.txt", "cache"]


def test_a_dry_run_refuses_what_training_would(book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Errors are training's own, with its exit codes."""
    words = ["train", str(book), "--dry-run", "--cache-dir", str(tmp_path / "cache"), "--tokenizer", "byte", *SMALL]
    assert main([*words, "--max-steps", "3", "--batch-size", "100000"]) == 2
    assert main([*words, "--max-steps", "3", "--init-from", str(tmp_path / "nothing")]) == 66
    assert capsys.readouterr().err.count("textmill: error") == 2


def test_training_ends_with_json_for_programs(book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json standard output is one JSON object, and everything said is on standard error."""
    words = ["train", str(book), "--tokenizer", "byte", "--max-steps", "2", "--json", *SMALL]
    assert main([*words, "--cache-dir", str(tmp_path / "cache"), "--output-dir", str(tmp_path / "run")]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert (result["total_steps"], result["exit_code"], result["stop_reason"]) == (2, 0, "finished")
    assert "step 2" in captured.err


def test_planning_needs_no_torch(book: Path) -> None:
    """The plan comes without importing torch."""
    code = "import sys; from textmill.cli.main import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    words = ["plan", str(book), "--device", "cpu", "--epochs", "1", "--batch-size", "2"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
