"""What a run folder says of how its steps were taken stays true, whatever a later session asks for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import textmill as tm
from textmill.cli.main import main
from textmill.config import load_config
from textmill.report.run_record import open_record
from textmill.runs.read_run import changes_of_settings

STEPS = ["--max-steps", "4", "--eval-steps", "4", "--save-steps", "2"]


@pytest.fixture(scope="module")
def finished(small_command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of four steps."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert main([*small_command, *STEPS, "--output-dir", str(folder)]) == 0
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run that a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "copy", symlinks=True))


def content(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return name -> time and bytes of every file."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "run.lock"]
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def resumed(folder: Path, *flags: str) -> int:
    return main(["train", "--output-dir", str(folder), "--resume", *flags])


def test_nothing_is_written_where_nothing_is_trained(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A finished run that is resumed with another rate keeps every byte, and says that the rate has no effect."""
    before = content(copy)
    assert resumed(copy, "--learning-rate", "0.0001") == 0
    assert "no step is left to take: learning_rate will have no effect" in capsys.readouterr().out
    assert content(copy) == before


def test_nor_by_a_program(copy: Path) -> None:
    """The same with resume="auto" from Python."""
    before = content(copy)
    result = tm.train(load_config(copy / "config.yaml"), output_dir=copy, resume="auto", weight_decay=0.7, quiet=True)
    assert (result.total_steps, content(copy)) == (4, before)


def test_a_run_killed_after_its_last_step_ends_with_its_own_settings(copy: Path) -> None:
    """Where only the end is missing, the end alone is written: config.yaml and environment.json stay."""
    whole = json.loads((copy / "status.json").read_text(encoding="utf-8"))
    status = {key: value for key, value in whole.items() if key != "sha256"} | {"state": "running"}
    (copy / "status.json").write_text(json.dumps(status), encoding="utf-8")
    before = content(copy)
    assert resumed(copy, "--learning-rate", "0.0001") == 0
    assert json.loads((copy / "status.json").read_text(encoding="utf-8"))["state"] == "finished"
    after = content(copy)
    assert [name for name in ("config.yaml", "environment.json") if after[name] != before[name]] == []


def test_both_values_of_a_changed_setting_are_kept(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A rate that changes during the run is recorded with its step, and `runs compare` shows both values."""
    original = Path(shutil.copytree(copy, copy.parent / "original"))
    assert resumed(copy, "--max-steps", "6", "--learning-rate", "0.001") == 0
    assert resumed(copy, "--max-steps", "8") == 0
    capsys.readouterr()
    assert main(["runs", "compare", str(original), str(copy)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "learning_rate 0.003 0.003, 0.001 after step 4" in said
    assert "max_steps 4 4, 6 after step 4, 8 after step 6" in said
    changed = [change for change in changes_of_settings(copy) if change["setting"] == "learning_rate"]
    assert changed == [{"setting": "learning_rate", "was": 0.003, "is": 0.001, "after_step": 4}]
    assert "0.003, 0.001 after step 4" in str(open_record(copy).shown_value("learning_rate"))


def test_a_change_that_was_undone_is_not_kept(copy: Path) -> None:
    """Resumed from a checkpoint before the change, the run has only the values of the steps that count."""
    assert resumed(copy, "--max-steps", "6", "--learning-rate", "0.001") == 0
    flags = [
        "--resume-from",
        str(copy / "checkpoints" / "step-0000002"),
        "--max-steps",
        "5",
        "--learning-rate",
        "0.002",
    ]
    assert main(["train", "--output-dir", str(copy), *flags]) == 0
    rates = [change for change in changes_of_settings(copy) if change["setting"] == "learning_rate"]
    assert rates == [{"setting": "learning_rate", "was": 0.003, "is": 0.002, "after_step": 2}]
