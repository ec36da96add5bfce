"""textmill plan and train --dry-run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.small_models import small_model
from textmill.checkpoint.model_folder import save_model_folder
from textmill.cli.main import main
from textmill.data.preparing import character_sample
from textmill.tokenizers import make_char

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


def alphabet(first: str, count: int) -> str:
    return "".join(chr(ord(first) + number) for number in range(count))


def planned(capsys: pytest.CaptureFixture[str], words: list[str]) -> tuple[dict[str, Any], str]:
    """The plan, and what was said beside it."""
    assert main(["plan", *words, "--tokenizer", "char", "--epochs", "1", "--json", *SMALL]) == 0
    screen = capsys.readouterr()
    return json.loads(screen.out), screen.err


@pytest.mark.parametrize(("first", "count"), [("ក", 70), ("一", 3000), ("a", 26)])
def test_characters_are_counted_in_any_script(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], first: str, count: int
) -> None:
    """Khmer, Chinese and English have the vocabulary, tokens, steps and parameters that a dry run finds."""
    letters = alphabet(first, count)
    text = tmp_path / "text.txt"
    text.write_text(letters * 50, encoding="utf-8")
    plan, said = planned(capsys, [str(text)])
    words = ["train", str(text), "--tokenizer", "char", "--epochs", "1", "--json", *SMALL, "--dry-run"]
    assert main([*words, "--cache-dir", str(tmp_path / "cache"), "--output-dir", str(tmp_path / "run")]) == 0
    made = json.loads(capsys.readouterr().out)
    assert f"vocabulary: {count:,} different characters in all of the text" in said
    assert plan["text"]["vocab_size"] == made["text"]["vocab_size"] == count + 1
    assert plan["parameters"] == made["parameters"]
    assert plan["text"]["train_tokens"] == pytest.approx(made["text"]["train_tokens"], rel=0.01)
    assert plan["steps"] == pytest.approx(made["steps"], abs=1)


def test_the_sample_of_a_large_text_is_called_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each of many files a beginning is read; what cannot be read is left to the training."""
    monkeypatch.setattr(character_sample, "MOST_CHARACTERS", 1000)
    for number in range(10):
        (tmp_path / f"{number}.txt").write_text(chr(ord("ក") + number) * 500, encoding="utf-8")
    (tmp_path / "broken.txt").write_bytes(b"\xff\x81" * 100)
    plan, said = planned(capsys, [str(tmp_path)])
    assert "vocabulary: 10 different characters in a sample of 2.7 kB, the text may have more" in said
    assert plan["text"]["vocab_size"] == 11
    (tmp_path / "a").mkdir()
    (tmp_path / "a/broken.txt").write_bytes(b"\xff\x81" * 100)
    assert planned(capsys, [str(tmp_path / "a")])[0]["text"]["vocab_size"] == 101


def test_characters_that_are_added_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --extend-vocab they come on top of those of the tokenizer, whose characters are tokens of the plan."""
    make_char(["abc "]).save(tmp_path / "tok")
    text = tmp_path / "text.txt"
    text.write_text("abc ក" * 200, encoding="utf-8")
    words = [str(text), "--epochs", "1", "--json", *SMALL, "--tokenizer", str(tmp_path / "tok")]
    assert main(["plan", *words, "--extend-vocab"]) == 0
    screen = capsys.readouterr()
    assert json.loads(screen.out)["text"]["vocab_size"] == 6
    assert "vocabulary: 5 of the tokenizer, 1 new characters in all of the text" in screen.err
    assert json.loads(screen.out)["text"]["train_tokens"] == 900


@pytest.mark.parametrize(("padded", "rows"), [(0, 6), (1, 6), (20, 25)])
def test_rows_beyond_the_tokenizer_s_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], padded: int, rows: int
) -> None:
    """A model with more rows than its tokenizer has entries keeps them when characters are added, as a run does."""
    known = make_char(["abc "])
    save_model_folder(tmp_path / "model", small_model(vocab_size=known.vocab_size + padded), known)
    (tmp_path / "text.txt").write_text("abc ក" * 200, encoding="utf-8")
    words = [str(tmp_path / "text.txt"), "--init-from", str(tmp_path / "model"), "--extend-vocab", "--epochs", "1"]
    assert main(["plan", *words, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    run = tmp_path / "run"
    assert main(["train", *words, "--dry-run", "--output-dir", str(run), "--cache-dir", str(tmp_path / "cache")]) == 0
    assert f"vocabulary {rows}" in capsys.readouterr().out
    width = small_model(vocab_size=5).config.d_model
    assert made["parameters"]["embedding"] == rows * width
