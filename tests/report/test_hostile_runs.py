"""Runs whose names, models and text are not as they should be: said in a line, and the others are still shown."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import textmill as tm
from textmill.cli.main import main
from textmill.evaluation.evaluate_saved_model import evaluate_model


def test_a_name_of_two_lines_is_printed_as_one(
    small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No command prints the escape in a run's name, nor begins a line with what follows the line feed in it."""
    run = Path(shutil.copytree(small_run, tmp_path / "a\nb\x1b[31m"))
    for words in (
        ["verify", str(run)],
        ["report", str(run)],
        ["runs", str(tmp_path)],
        ["runs", "compare", str(run), str(small_run)],
        ["evaluate", str(run)],
        ["config", "show", "--config", str(run / "config.yaml")],
        ["tokenizer", "inspect", str(run)],
        ["verify", f"{run}2"],
    ):
        code = main(words)
        printed = capsys.readouterr()
        assert code == (66 if words[-1].endswith("2") else 0), printed.err
        for line in (printed.out + printed.err).splitlines():
            assert "\x1b" not in line and not line.startswith("b\ufffd"), words


def test_a_model_that_cannot_be_measured_leaves_the_others(
    small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`runs compare --on`: its column says so, standard error why; where no model can be measured it is an error."""
    run = Path(shutil.copytree(small_run, tmp_path / "damaged"))
    for path in run.glob("*/model.safetensors"):
        path.write_bytes(path.read_bytes()[:-9])
    (text := tmp_path / "text.txt").write_text("a few words to measure\n" * 9)
    assert main(["runs", "compare", str(run), str(small_run), "--on", str(text)]) == 0
    printed = capsys.readouterr()
    row = next(line for line in printed.out.splitlines() if line.startswith("bits per byte on text"))
    assert row.split()[5:7] == ["not", "measured"] and float(row.split()[7]) > 0
    assert f"{run} is not measured: " in printed.err
    assert main(["runs", "compare", str(run), str(small_run), "--on", str(text), "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["results"]["bits_per_byte_on_text"]
    assert first is None and second > 0
    assert main(["runs", "compare", str(run), str(run), "--on", str(text)]) == 65


@pytest.mark.parametrize("content", [b"{", b"", None])
def test_a_damaged_environment_does_not_stop_an_evaluation(
    small_run: Path, tmp_path: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same figures as of the whole run, and a sentence about what is not checked."""
    run = Path(shutil.copytree(small_run, tmp_path / "run"))
    whole = evaluate_model(run)
    (run / "environment.json").unlink()
    if content is not None:
        (run / "environment.json").write_bytes(content)
    capsys.readouterr()
    assert main(["evaluate", str(run), "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == whole
    state = "missing" if content is None else "damaged"
    sentence = f"{run}/environment.json is {state}: whether the data is still that of the training is not checked"
    assert sentence in printed.err


def test_a_text_that_was_given_once_and_deleted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`verify` says that it is gone, `evaluate` asks for text (66), and neither promises to prepare it again."""
    shape: dict[str, Any] = {
        "d_model": 16,
        "num_layers": 1,
        "num_heads": 2,
        "max_seq_len": 16,
        "batch_size": 2,
        "max_steps": 1,
    }
    texts = iter(["the river ran past the mill, and the miller slept. " * 20] * 3)
    run, cache = tmp_path / "run", tmp_path / "cache"
    tm.train(data=texts, tokenizer="char", **shape, cache_dir=str(cache), output_dir=str(run), quiet=True)
    shutil.rmtree(cache)
    capsys.readouterr()
    assert main(["verify", str(run)]) == 0
    gone = ": its text, which a program or a pipe gave once, is gone too; give it again to resume or evaluate the run"
    said = capsys.readouterr().out
    assert gone in said and "prepared again" not in said
    assert main(["evaluate", str(run)]) == 66
    said = capsys.readouterr().err
    assert "was kept there. Give the data to evaluate on" in said and "prepared again" not in said
