"""What is asked of a resumed run counts, not what was decided before; and what was asked is compared with what was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from textmill.cli.main import main
from textmill.config import load_config
from textmill.console.screen import Screen
from textmill.engine.deepspeed_json import adopt_deepspeed
from textmill.planning.run_length import Length, kept_epochs
from textmill.training import steps
from textmill.training.assemble import assemble
from textmill.training.resume import merge_with_saved

Says = Callable[..., str]

SHAPE = ("--tokenizer", "byte", "--d-model", "16", "--num-layers", "1", "--num-heads", "1", "--max-seq-len", "32")
SMALL = (*SHAPE, "--batch-size", "4", "--sample-steps", "0")


@pytest.fixture
def says(capsys: pytest.CaptureFixture[str]) -> Says:
    """Run a command, which must succeed, and return what it printed."""

    def run(*arguments: str | Path) -> str:
        assert main([str(argument) for argument in arguments]) == 0
        return capsys.readouterr().out

    return run


def status(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "status.json").read_text())


@pytest.fixture(scope="module")
def stopped_early(book: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 40 steps that ended at step 6: no evaluation improves the loss by 9 nats, and two were waited for."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    steady = ["--optimizer", "adamw", "--learning-rate", "1e-3"]
    patience = [*steady, "--eval-steps", "2", "--early-stopping-patience", "2", "--early-stopping-min-delta", "9"]
    assert main(["train", str(book), *SMALL, "--max-steps", "40", *patience, "--output-dir", str(folder)]) == 0
    assert (status(folder)["step"], status(folder)["reason"]) == (6, "early stopping")
    return folder


@pytest.mark.parametrize(
    ("asked", "step", "reason"),
    [
        ((), 6, "early stopping"),
        (("--early-stopping-patience", "4"), 10, "early stopping"),
        (("--early-stopping-patience", "0"), 40, "finished"),
        (("--early-stopping-min-delta", "0", "--max-steps", "12"), 12, "finished"),
        (("--max-steps", "60"), 10, "early stopping"),
    ],
    ids=["nothing", "more patience", "no patience", "fewer steps, any progress", "more steps"],
)
def test_an_early_stop_is_decided_again(
    stopped_early: Path, tmp_path: Path, says: Says, asked: tuple[str, ...], step: int, reason: str
) -> None:
    """Patience is what it is now; a new length begins it anew; and a run with nothing to do says what gives it more."""
    run = shutil.copytree(stopped_early, tmp_path / "run")
    said = says("train", "--output-dir", run, "--resume", *asked)
    assert (status(run)["step"], status(run)["reason"]) == (step, reason)
    assert ("nothing to do; a larger --early-stopping-patience" in said) == (not asked)
    assert ("resumed     at step 6" in said) == bool(asked)


def test_another_time_limit_is_another_plan(book: Path, tmp_path: Path) -> None:
    """The plan of a run that is limited by time belongs to that time: twice the time is about twice the steps."""
    shape: dict[str, Any] = {"d_model": 16, "num_layers": 1, "num_heads": 1, "max_seq_len": 32, "batch_size": 4}
    shape |= {"data": str(book), "tokenizer": "byte", "output_dir": str(tmp_path / "run")}
    planned = []
    for limit, resume in (("1h", False), ("1h", True), ("2h", True), ("2h", True)):
        config = load_config(**shape, max_time=limit, resume=resume)
        with assemble(config, screen=Screen(quiet=True)) as run:
            for step in steps(run):
                if step.number >= 21:
                    break
            planned.append(run.progress.total_steps)
            assert run.schedule.total_steps == run.progress.total_steps
    first, again, longer, same = planned
    assert first == again
    assert longer == same
    assert longer > 1.5 * first


def test_the_same_configuration_resumes(book: Path, tmp_path: Path, says: Says) -> None:
    """One command starts and resumes, as jobs are restarted, though the text made vocabulary and warm-up smaller."""
    file = tmp_path / "run.yaml"
    asked = {"data": str(book), "tokenizer": "bpe", "vocab_size": 50_000, "warmup_steps": 500, "max_steps": 6}
    shape = {"d_model": 16, "num_layers": 1, "num_heads": 1, "max_seq_len": 16, "batch_size": 2, "sample_steps": 0}
    file.write_text(yaml.safe_dump({**asked, **shape, "output_dir": str(tmp_path / "run")}))
    says("train", "--config", file)
    before = (tmp_path / "run" / "config.yaml").read_text()
    assert load_config(tmp_path / "run").model.vocab_size == 50_000
    assert load_config(tmp_path / "run").training.warmup_steps == 500
    said = says("train", "--config", file, "--resume")
    assert "from here on" not in said
    assert "nothing to do" in said
    assert (tmp_path / "run" / "config.yaml").read_text() == before


def test_the_same_deepspeed_file_is_the_same_setting(tmp_path: Path) -> None:
    """The run's config.yaml has its content, the command names the file: nothing differs, and nothing is said."""
    file, run = tmp_path / "deepspeed.json", tmp_path / "run"
    file.write_text('{"train_micro_batch_size_per_gpu": 2, "zero_optimization": {"stage": 2}}')
    run.mkdir()
    config = load_config({"deepspeed_config": str(file)})
    adopt_deepspeed(config, 1, resumed=False)
    (run / "config.yaml").write_text(yaml.safe_dump(config.dump(as_asked=True)))
    said: list[str] = []
    merged = merge_with_saved(load_config({"deepspeed_config": str(file)}), run, None, said.append).config
    assert said == []
    assert merged.training.batch_size == 2


def test_a_job_that_starts_from_weights_resumes_with_its_own_command(book: Path, tmp_path: Path, says: Says) -> None:
    """--init-from and --resume auto: the weights are for the first start, the checkpoint for every later one."""
    says("train", book, *SMALL, "--max-steps", "2", "--output-dir", tmp_path / "first")
    job = ["train", book, *SMALL, "--init-from", tmp_path / "first", "--resume", "auto"]
    job += ["--output-dir", tmp_path / "job", "--save-steps", "2"]
    says(*job, "--max-steps", "2")
    shutil.rmtree(tmp_path / "first")
    (tmp_path / "first").mkdir()
    says(*job, "--max-steps", "4")
    assert status(tmp_path / "job")["step"] == 4


def test_every_epoch_of_a_small_model_can_be_returned_to(book: Path, tmp_path: Path, says: Says) -> None:
    """With --epochs all epochs are kept and the screen says so; a limit that is given is kept to."""
    text = tmp_path / "short.txt"
    text.write_text(book.read_text()[:1500])
    run = tmp_path / "run"
    said = says("train", text, *SMALL, "--epochs", "6", "--output-dir", run)
    assert "one per epoch, all 6 are kept; --save-total-limit 3 keeps fewer" in said
    assert len(list((run / "checkpoints").iterdir())) == 6
    end = status(run)["step"]
    said = says("train", "--resume-from", run / "checkpoints" / "checkpoint_epoch_2.pt")
    assert f"resumed     at step {-(-end // 3)} of {end}" in said
    plan = says("train", text, *SMALL, "--epochs", "6", "--dry-run")
    assert "for 6 checkpoints of" in plan
    said = says("train", text, *SMALL, "--epochs", "6", "--save-total-limit", "2", "--output-dir", tmp_path / "limited")
    assert "one per epoch" not in said
    assert len(list((tmp_path / "limited" / "checkpoints").iterdir())) <= 3  # two, and the best


def test_epochs_are_kept_as_long_as_they_are_small() -> None:
    """Twelve bytes per parameter and epoch, less than 1 GB together; only where `epochs` ends the run, by default."""
    length = Length(total_steps=200, limit="epochs", rows_per_step=1, rows_per_epoch=10, row_tokens=32)
    assert kept_epochs(None, length, 4_000_000) == 20  # 960 MB
    assert kept_epochs(None, length, 5_000_000) == 0  # 1.2 GB
    assert kept_epochs(3, length, 1000) == 0
    assert kept_epochs(None, Length(200, "max_steps", 1, 10, 32), 1000) == 0


def test_what_an_earlier_session_said_of_the_text_is_not_said_again(
    book: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A vocabulary that the text made smaller is said when the run begins, and not at each resume."""
    said = []
    for most in ("1", "2", "3"):
        words = ["train", str(book), "--vocab-size", "9000", "--d-model", "16", "--num-layers", "1", "--num-heads", "1"]
        words += ["--max-seq-len", "32", "--cache-dir", str(tmp_path / "cache"), "--output-dir", str(tmp_path / "run")]
        assert main([*words, "--max-steps", most, *(["--resume"] if said else [])]) == 0
        screen = capsys.readouterr()
        said.append((screen.out + screen.err).count("instead of 9000"))
        assert f"{most} step{'s' if most != '1' else ''} (set by max_steps)" in screen.out
    assert said == [1, 0, 0]
