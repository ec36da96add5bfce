"""textmill runs, runs compare and verify."""

from __future__ import annotations

import fcntl
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from support.report_runs import train_small
from textmill.cli.main import main
from textmill.evaluation.evaluate_saved_model import evaluate_model
from textmill.report.run_record import Record, find_records


@pytest.fixture
def copied(small_run: Path, tmp_path: Path) -> Path:
    """A run to damage."""
    return Path(shutil.copytree(small_run, tmp_path / "copied"))


def test_runs_are_listed(small_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table has the run with state, steps and best loss; JSON has the same as numbers."""
    assert main(["runs", str(small_run.parent)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split()[:2] == ["run", "state"] and shown[1].split()[:3] == ["one", "finished", "4"]
    assert main(["runs", "list", str(small_run.parent), "--json"]) == 0
    [summary] = json.loads(capsys.readouterr().out)
    assert summary["best_val_loss"] == min(row["val_loss"] for row in Record(small_run).evaluations)


def test_no_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty folder is said; a missing one is an error (66)."""
    assert main(["runs", str(tmp_path)]) == 0
    assert "no runs" in capsys.readouterr().out
    assert main(["runs", str(tmp_path / "nowhere")]) == 66


def test_a_run_that_died_is_not_running(copied: Path) -> None:
    """`running` without a holder of the lock is `killed`; with one it is running."""
    status = {**json.loads((copied / "status.json").read_text()), "state": "running"}
    (copied / "status.json").write_text(json.dumps(status))
    assert Record(copied).state == "killed"
    with (copied / "run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert Record(copied).state == "running"


def test_runs_are_compared(
    small_run: Path, tmp_path: Path, book: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exactly the settings that differ are shown, beside the results."""
    other = train_small(tmp_path / "other", book, cache_dir, "--max-grad-norm", "0.5", "--seed", "9")
    capsys.readouterr()
    assert main(["runs", "compare", str(small_run), str(other), "--json"]) == 0
    compared = json.loads(capsys.readouterr().out)
    assert set(compared["settings"]) == {"max_grad_norm", "seed"}
    assert compared["settings"]["seed"] == [42, 9] and compared["same_data"]
    assert main(["runs", "compare", str(small_run), str(other)]) == 0
    assert "max_grad_norm" in capsys.readouterr().out
    assert main(["runs", "compare", str(small_run)]) == 2


def test_runs_of_different_texts_are_compared_on_one(
    small_run: Path, tmp_path: Path, book: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their own figures do not compare, which is said with the command; on one text each has what evaluate says."""
    text = tmp_path / "other.txt"
    text.write_text("a text of another kind, 1234567890\n" * 60)
    other = train_small(tmp_path / "other", text, cache_dir)
    capsys.readouterr()
    assert main(["runs", "compare", str(small_run), str(other)]) == 0
    assert f"textmill runs compare {small_run} {other} --on FILE" in capsys.readouterr().out
    assert main(["runs", "compare", str(small_run), str(other), "--on", str(book), "--json"]) == 0
    compared = json.loads(capsys.readouterr().out)
    assert not compared["same_data"]
    expected = [evaluate_model(run, book)["bits_per_byte"] for run in (small_run, other)]
    assert compared["results"]["bits_per_byte_on_text"] == pytest.approx(expected)
    assert expected[0] < expected[1]


def test_runs_below_runs(small_run: Path, tmp_path: Path) -> None:
    """Runs two levels down are found, checkpoints and model folders are not taken for runs."""
    nested = tmp_path / "sweep" / "trial-0001"
    shutil.copytree(small_run, nested)
    assert [record.folder for record in find_records(tmp_path)] == [nested]


def test_a_whole_run_verifies(small_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every part is whole, the token store included; exit code 0."""
    assert main(["verify", str(small_run), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    names = " ".join(finding["name"] for finding in told["findings"])
    assert told["whole"]
    for part in ("checkpoints/step-0000004", "best_model", "final", "metrics.jsonl", "tokenizer", "token store"):
        assert part in names


def flip(path: Path) -> None:
    """One bit in the middle of a file is another."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("target", "damage", "named"),
    [
        ("checkpoints/step-0000002/optimizer.safetensors", flip, "checkpoints/step-0000002"),
        ("checkpoints/step-0000004/state.json", Path.unlink, "checkpoints/step-0000004"),
        ("final/model.safetensors", lambda path: path.write_bytes(path.read_bytes()[:-9]), "final"),
        ("metrics.jsonl", lambda path: path.write_text("{}\nxx\n{}\n"), "metrics.jsonl"),
        ("environment.json", lambda path: path.write_text("{"), "environment.json"),
        ("config.yaml", lambda path: path.write_text("no_such_setting: [1"), "config.yaml"),
        ("tokenizer/tokenizer.json", Path.unlink, "tokenizer"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_damage_is_named(
    copied: Path, target: str, damage: Any, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever was damaged, its part is named and the exit code is 65."""
    damage(copied / target)
    assert main(["verify", str(copied)]) == 65
    captured = capsys.readouterr()
    assert any(line.split() == ["damaged", named] for line in captured.out.splitlines())
    assert named in captured.err


def test_a_best_model_that_is_missing_is_damage(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only of a run that recorded a best step; the checkpoint that has the same model and the remedy are named."""
    shutil.rmtree(copied / "best_model")
    assert main(["verify", str(copied)]) == 65
    told = capsys.readouterr()
    assert f"{copied}/best_model is missing: the checkpoint of the best step, {copied}/checkpoints/step-" in told.out
    assert f"train --output-dir {copied} --resume writes it anew" in told.out
    assert told.err.endswith("damaged: best_model\n")
    assert main(["train", "--output-dir", str(copied), "--resume"]) == 0
    assert main(["verify", str(copied)]) == 0


def test_a_prepared_folder_verifies(book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A prepared corpus is checked by itself; a shard with one other bit is found."""
    folder = tmp_path / "prepared"
    assert main(["prepare", str(book), "--tokenizer", "byte", "--output", str(folder)]) == 0
    assert main(["verify", str(folder)]) == 0
    [shard, *_] = [path for path in (folder / "train").iterdir() if path.suffix != ".json"]
    flip(shard)
    (folder / "tokenizer" / "tokenizer.json").unlink()
    assert main(["verify", str(folder)]) == 65
    told = capsys.readouterr().out
    assert "00000.bin has changed" in told and "tokenizer.json" in told
    assert told.count(f"restore it from a copy, or delete {folder} and prepare the corpus again") == 1
    assert main(["verify", str(tmp_path)]) == 66
