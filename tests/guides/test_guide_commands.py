"""The guides' own command lines, read from the guides, run."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from support.guide_commands import flags_in_guide, guides, in_guide, ours, smaller
from textmill.cli.main import main


def commands_of(shared: Path, number: str) -> list[list[str]]:
    """Return the different command lines of a guide as our arguments."""
    lines = dict.fromkeys(in_guide(guides(shared)[number]))
    return [ours(line) for line in lines]


def test_every_training_command_of_the_first_guide(
    shared: Path, guide_folder: Path, capsys: pytest.CaptureFixture
) -> None:
    """From the quick start to the large model: each runs, and the one that resumes finds the epoch it names."""
    for words in commands_of(shared, "000"):
        if "--resume-from" in words:
            continue  # below
        again = (guide_folder / words[words.index("--output-dir") + 1]).exists()  # two models of the guide share a name
        assert main([*smaller(words), *(["--overwrite"] if again else [])]) == 0, capsys.readouterr().err
    for folder in ("my_model", "test_model", "medium_model", "large_model", "tiny_model", "small_model"):
        assert json.loads((guide_folder / folder / "status.json").read_text())["state"] == "finished"


def test_the_first_guides_resume(guide_folder: Path, text: str, capsys: pytest.CaptureFixture) -> None:
    """`--resume-from my_model/checkpoint_epoch_2.pt` goes on after the second epoch of the run in my_model."""
    (guide_folder / "data.txt").write_text(text[:6000])
    start = ["train", "data.txt", "--output-dir", "my_model", "--tokenizer", "char", "--model-dim", "32"]
    start += ["--num-layers", "1", "--max-seq-len", "64", "--epochs", "3", "--sample-steps", "0"]
    assert main(start) == 0
    ends = [json.loads(line)["step"] for line in (guide_folder / "my_model" / "metrics.jsonl").read_text().splitlines()]
    resume = ["train", "data.txt", "--output-dir", "my_model", "--resume-from", "my_model/checkpoint_epoch_2.pt"]
    capsys.readouterr()
    assert main([*resume, "--epochs", "4"]) == 0
    assert f"resumed     at step {ends[1]} of" in capsys.readouterr().out
    epochs = [
        json.loads(line)["epoch"] for line in (guide_folder / "my_model" / "metrics.jsonl").read_text().splitlines()
    ]
    assert epochs == sorted(epochs)
    assert epochs[-1] == pytest.approx(4, abs=0.2)


def test_every_flag_that_a_guide_shows_alone(shared: Path, guide_folder: Path, capsys: pytest.CaptureFixture) -> None:
    """Flags without a command line around them are all understood."""
    count = 0
    for number, text in guides(shared).items():
        for words in flags_in_guide(text):
            count += 1
            assert main(["config", "show", "--json", *words]) == 0, (number, words, capsys.readouterr().err)
    assert count > 40


def test_every_training_command_of_the_last_guide(
    shared: Path, guide_folder: Path, capsys: pytest.CaptureFixture
) -> None:
    """Arrays of ids, whose vocabulary is theirs: each command runs in an output folder of its own."""
    for words in commands_of(shared, "004"):
        if "--resume_from" in words:
            words[words.index("checkpoints/checkpoint_step_50000.pt")] = "checkpoints/checkpoint_step_3.pt"
            words[words.index("150000")] = "5"
            assert main(words) == 0, capsys.readouterr().err
            continue
        words = [word.replace("$lr", "1e-4").replace("${lr}", "1e-4") for word in words]
        small = smaller(words)
        assert main(small) == 0, (shlex.join(small), capsys.readouterr().err)
    names = {path.name for path in (guide_folder / "runs").iterdir()}
    assert names == {"experiment_1", "experiment-1", "experiment_2", "experiment_3", "lr_1e-4"}
    assert json.loads((guide_folder / "runs" / "experiment_1" / "status.json").read_text())["step"] == 5


def test_every_training_command_of_the_fourth_guide(
    shared: Path, guide_folder: Path, text: str, capsys: pytest.CaptureFixture
) -> None:
    """A tokenizer trained on the way, and a folder of texts whose model answers a prompt."""
    Path("training_data.txt").write_text(text[:6000])
    for words in commands_of(shared, "003"):
        assert main(smaller(words)) == 0, (shlex.join(words), capsys.readouterr().err)
    assert (guide_folder / "model" / "final" / "model.safetensors").is_file()
    assert "| Cybersecurity is important because" in capsys.readouterr().out
    assert (guide_folder / "Model_Test" / "output" / "tokenizer" / "tokenizer.json").is_file()
