"""What the guides describe in words around their command lines, seen to happen."""

from __future__ import annotations

import json
import math
import runpy
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from textmill.cli.main import main

Says = Callable[..., str]

TINY = ["--tokenizer", "byte", "--d-model", "32", "--num-layers", "1", "--num-heads", "2", "--max-seq-len", "32"]
TINY += ["--batch-size", "4", "--eval-batches", "2"]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("schedule", "falls"), [("constant", False), ("step", True), ("exponential", True), ("polynomial", True)]
)
def test_every_schedule_has_a_warmup(place: Path, textmill_says: Says, schedule: str, falls: bool) -> None:
    """`--lr-schedule NAME --warmup-steps 4`: up to the peak in four steps, then what the name says."""
    words = ["--lr-schedule", schedule, "--warmup-steps", "4", "--learning-rate", "1e-3", "--max-steps", "12"]
    textmill_says(
        "train", "data.txt", "--output-dir", "run", *TINY, *words, "--logging-steps", "1", "--sample-steps", "0"
    )
    rates = [row["learning_rate"] for row in rows(place / "run" / "steps.jsonl")]
    assert rates[:4] == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3])
    assert (rates[-1] < 0.9e-3) == falls


def test_early_stopping_counts_to_its_patience(place: Path, textmill_says: Says) -> None:
    """`--early-stopping --patience 2`: a model that learns nothing ends after one evaluation and two more."""
    words = [
        "--early-stopping",
        "--patience",
        "2",
        "--eval-steps",
        "1",
        "--max-steps",
        "40",
        "--learning-rate",
        "1e-30",
    ]
    out = textmill_says("train", "data.txt", "--output-dir", "run", *TINY, *words, "--sample-steps", "0")
    status = json.loads((place / "run" / "status.json").read_text())
    assert (status["reason"], status["step"], status["exit_code"]) == ("early stopping", 3, 0)
    assert "stopping early" in out


def test_tensorboard_reads_what_is_logged(place: Path, textmill_says: Says) -> None:
    """`--tensorboard --log-dir runs/`: curves of this run lie in a folder of its own below runs/."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    words = ["--tensorboard", "--log-dir", "runs/", "--max-steps", "4", "--logging-steps", "2"]
    textmill_says("train", "data.txt", "--output-dir", "my_model", *TINY, *words)
    events = reader.EventAccumulator(str(place / "runs" / "my_model"))
    events.Reload()
    assert {"train/loss", "train/learning_rate", "eval/loss", "eval/perplexity"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("train/loss")] == [2, 4]


def test_weights_and_biases_by_its_switch(place: Path, textmill_says: Says, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--wandb --project fundamentallm` reports to that project; without the package it is one line and no run."""
    words = [
        "train",
        "data.txt",
        "--output-dir",
        "run",
        *TINY,
        "--max-steps",
        "2",
        "--wandb",
        "--project",
        "fundamentallm",
    ]
    if find_spec("wandb") is None:
        assert main(words) != 0
        assert not (place / "run").exists()
        pytest.skip("needs the package wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert "wandb sync" in textmill_says(*words)


@pytest.mark.parametrize("flags", [["--dtype", "float16"], ["--mixed-precision", "bf16"]])
def test_a_hundred_steps_in_half_precision_stay_finite(place: Path, textmill_says: Says, flags: list[str]) -> None:
    """Every loss and every norm of a hundred fp16 or bf16 steps is a number, and the loss falls."""
    words = [*flags, "--max-steps", "100", "--logging-steps", "10", "--learning-rate", "1e-2", "--sample-steps", "0"]
    small = ["--tokenizer", "byte", "--d-model", "16", "--num-layers", "1", "--num-heads", "1", "--max-seq-len", "16"]
    textmill_says(
        "train", "data.txt", "--output-dir", "run", *small, "--batch-size", "4", *words, "--eval-steps", "100"
    )
    logged = rows(place / "run" / "steps.jsonl")
    assert all(row["train_loss"] is not None and math.isfinite(row["train_loss"]) for row in logged)
    assert logged[-1]["train_loss"] < logged[0]["train_loss"] - 0.5


@pytest.mark.slow
def test_a_compiled_run_is_read_by_plain_code(place: Path, textmill_says: Says) -> None:
    """`--compile`: the checkpoint has plain names, and evaluation and generation load it without compiling."""
    textmill_says("train", "data.txt", "--output-dir", "run", *TINY, "--max-steps", "3", "--compile")
    assert "loss" in json.loads(textmill_says("evaluate", "run", "--json"))
    assert textmill_says("generate", "run", "--prompt", "def ", "--max-new-tokens", "3").startswith("def ")


def test_the_prompt_is_answered_after_training(place: Path, textmill_says: Says) -> None:
    """The example script's flags: after training, the sample prompt stands once more on the screen with an answer."""
    out = textmill_says(
        *("train", "--data_dir", "./Model_Test", "--output_dir", "./Model_Test/output", "--epochs", "1"),
        *("--batch_size", "8", "--block_size", "64", "--embed_dim", "32", "--layers", "1", "--heads", "2"),
        *("--lr", "6e-4", "--prompt", "Security is", "--max_new_tokens", "8", "--temperature", "0.8", "--top_p", "0.9"),
        *("--tokenizer", "byte", "--sample-steps", "0"),
    )
    assert out.count("| Security is") == 1
    samples = rows(place / "Model_Test" / "output" / "samples.jsonl")
    status = json.loads((place / "Model_Test" / "output" / "status.json").read_text())
    assert [sample["step"] for sample in samples] == [status["step"]]
    assert samples[0]["text"].startswith("Security is")


def test_a_run_inside_its_data_is_not_its_data(place: Path, textmill_says: Says) -> None:
    """The output folder lies in the folder of the text; made again, the run reads the text alone."""
    words = ["train", "--data_dir", "Model_Test", "--output_dir", "Model_Test/output", *TINY, "--max-steps", "2"]
    textmill_says(*words)
    first = json.loads((place / "Model_Test" / "output" / "environment.json").read_text())["identity"]["data"]
    out = textmill_says(*words, "--overwrite")
    assert json.loads((place / "Model_Test" / "output" / "environment.json").read_text())["identity"]["data"] == first
    assert "output of a run" in out
    assert "step 3" in textmill_says(*words[:5], "--resume", "--max-steps", "3")


def test_a_tokenizer_that_is_not_there_is_trained(place: Path, textmill_says: Says) -> None:
    """`train model --data FILE --tokenizer DIR --output DIR` says that there is none, and trains it."""
    words = ["train", "model", "--data", "training_data.txt", "--tokenizer", "./tokenizer", "--output", "./model"]
    words += ["--epochs", "10", "--batch-size", "4", "--max-steps", "2", *TINY[2:-4], "--vocab-size", "300"]
    assert "no tokenizer in tokenizer" in textmill_says(*words)
    assert (place / "model" / "tokenizer" / "tokenizer.json").is_file()
    textmill_says(*words, "--resume")
    (place / "model" / "tokenizer").rename(place / "tokenizer")
    out = textmill_says(*[word.replace("./model", "./other") for word in words if word not in ("--vocab-size", "300")])
    assert "no tokenizer" not in out


def test_a_run_is_called_from_a_script(place: Path, textmill_says: Says, capsys: pytest.CaptureFixture) -> None:
    """`python src/training/train.py` with `src/config/config.yaml`: two lines that make the guide's command work."""
    (place / "src" / "config").mkdir(parents=True)
    (place / "src" / "training").mkdir()
    (place / "src" / "config" / "config.yaml").write_text(
        "data: {data: data.txt, seq_length: 32}\n"
        "training: {epochs: 3, batch_size: 2, dim_model: 32, num_layers: 1, num_heads: 4, dim_ff: 64, dropout: 0.1,\n"
        "  learning_rate: 3e-4, weight_decay: 0.01, num_steps: 3, warmup_steps: 300, patience: 2}\n"
        'device: "cpu"\n'
    )
    (place / "src" / "training" / "train.py").write_text("import textmill\ntextmill.train('src/config/config.yaml')\n")
    runpy.run_path(str(place / "src" / "training" / "train.py"))
    assert "warmup_steps: 0 instead of 300" in capsys.readouterr().out
    assert "experiment_2" in textmill_says("train", "--config", "src/config/config.yaml")
    last = rows(place / "runs" / "experiment_1" / "metrics.jsonl")[-1]
    assert {"epoch", "train_loss", "val_loss", "val_perplexity"} <= last.keys()


def test_a_sweep_keeps_its_runs_apart(place: Path, textmill_says: Says) -> None:
    """The last guide's loop over learning rates: one folder per run name, and none is written twice."""
    words = ["train", "--train_data", "data/train.npy", "--val_data", "data/val.npy", *TINY[2:], "--max_steps", "2"]
    for rate in ("1e-4", "2e-4"):
        textmill_says(*words, "--learning_rate", rate, "--wandb_run_name", f"lr_{rate}")
    finals = {path.parent.parent.name: path.read_bytes() for path in place.glob("runs/*/final/model.safetensors")}
    assert len(set(finals.values())) == 2
    assert finals.keys() == {"lr_1e-4", "lr_2e-4"}
    assert main([*words, "--learning_rate", "1e-4", "--wandb_run_name", "lr_1e-4"]) == 2


def test_a_checkpoint_is_named_relative_to_the_run(place: Path, textmill_says: Says) -> None:
    """`--resume_from checkpoints/checkpoint_step_2.pt` is the newest run's, and that of the output folder if given."""
    words = ["train", "--train_data", "data/train.npy", "--val_data", "data/val.npy"]
    small = [*TINY[2:], "--save_steps", "2"]
    textmill_says(*words, *small, "--max_steps", "4")
    textmill_says(*words, *small, "--max_steps", "4", "--checkpoint_dir", "checkpoints")
    for folder in (["--checkpoint_dir", "checkpoints"], []):
        out = textmill_says(*words, *folder, "--resume_from", "checkpoints/checkpoint_step_2.pt", "--max_steps", "6")
        assert "at step 2" in out
    (place / "checkpoints").rename(place / "elsewhere")
    out = textmill_says(*words, "--resume_from", "checkpoints/checkpoint_step_4.pt", "--max_steps", "7")
    assert "experiment_1" in out
    assert "at step 4" in out
