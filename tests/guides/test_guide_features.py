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
import torch
from torch import nn

import textmill as tm
from textmill.cli.main import main

Says = Callable[..., str]

TINY = ["--tokenizer", "byte", "--d-model", "32", "--num-layers", "1", "--num-heads", "2", "--max-seq-len", "32"]
TINY += ["--batch-size", "4", "--eval-batches", "2"]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


PEAK, FLOOR = 1e-3, 1e-4

COURSES: dict[str, list[float]] = {  # after four steps of warm-up, over the eight that are left
    "constant": [PEAK] * 8,
    "step": [PEAK] * 4 + [FLOOR] * 4,
    "cosine": [FLOOR + (PEAK - FLOOR) * (1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)],
    "linear": [PEAK - (PEAK - FLOOR) * step / 8 for step in range(8)],
    "exponential": [max(FLOOR, PEAK * 0.1 ** (step / 4)) for step in range(8)],
    "polynomial": [FLOOR + (PEAK - FLOOR) * (1 - step / 8) ** 2 for step in range(8)],
}


@pytest.mark.parametrize("schedule", list(COURSES))
def test_every_schedule_has_a_warmup(guide_folder: Path, textmill_says: Says, schedule: str) -> None:
    """`--lr-schedule NAME --warmup-steps 4`: up to the peak in four steps, then the course that the name says."""
    words = ["--lr-schedule", schedule, "--warmup-steps", "4", "--learning-rate", "1e-3", "--max-steps", "12"]
    textmill_says(
        "train", "data.txt", "--output-dir", "run", *TINY, *words, "--logging-steps", "1", "--sample-steps", "0"
    )
    rates = [row["learning_rate"] for row in rows(guide_folder / "run" / "steps.jsonl")]
    assert rates == pytest.approx([2.5e-4, 5e-4, 7.5e-4, 1e-3, *COURSES[schedule]])


def test_early_stopping_counts_to_its_patience(guide_folder: Path, textmill_says: Says) -> None:
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
    status = json.loads((guide_folder / "run" / "status.json").read_text())
    assert (status["reason"], status["step"], status["exit_code"]) == ("early stopping", 3, 0)
    assert "stopping early" in out


class Scripted(nn.Module):
    """A model whose losses on a text of nothing but `a` are the given ones, one evaluation after the other."""

    def __init__(self, losses: list[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(257))
        self.loss = 1.0
        self.losses = iter([self.loss, *losses])  # it is asked once before the run, which ids it reads

    def train(self, mode: bool = True) -> Scripted:
        if self.training and not mode:
            self.loss = next(self.losses)
        return super().train(mode)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros_like(self.weight)
        logits[ord("a")] = math.log(256 / math.expm1(self.loss))  # -log softmax of it is the loss
        return (logits + 0 * self.weight).expand(*tokens.shape, 257)


@pytest.mark.parametrize(("settings", "stop"), [({}, 8), ({"early_stopping_min_delta": 0.5}, 5)], ids=["any", "half"])
def test_patience_begins_again_with_an_improvement(guide_folder: Path, settings: dict[str, Any], stop: int) -> None:
    """A loss lower by more than the minimum sets the counter back; the best model is the lowest all the same."""
    losses = [5.0, 4.8, 4.3, 4.0, 3.9, 3.8, 3.8, 3.9, 3.7]
    (guide_folder / "a.txt").write_text("a" * 3000)
    shape: dict[str, Any] = {"tokenizer": "byte", "d_model": 32, "num_heads": 2, "max_seq_len": 32, "batch_size": 4}
    result = tm.train(
        model=Scripted(losses),
        data="a.txt",
        output_dir="run",
        early_stopping=True,
        patience=2,
        eval_steps=1,
        max_steps=9,
        sample_steps=0,
        **shape,
        **settings,
    )
    assert (result.stop_reason, result.total_steps) == ("early stopping", stop)
    measured = rows(guide_folder / "run" / "metrics.jsonl")
    assert [row["val_loss"] for row in measured] == pytest.approx(losses[:stop], abs=1e-5)
    assert measured[-1]["best_val_loss"] == pytest.approx(min(losses[:stop]), abs=1e-5)


def test_tensorboard_reads_what_is_logged(guide_folder: Path, textmill_says: Says) -> None:
    """`--tensorboard --log-dir runs/`: curves of this run lie in a folder of its own below runs/."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    words = ["--tensorboard", "--log-dir", "runs/", "--max-steps", "4", "--logging-steps", "2"]
    textmill_says("train", "data.txt", "--output-dir", "my_model", *TINY, *words)
    events = reader.EventAccumulator(str(guide_folder / "runs" / "my_model"))
    events.Reload()
    assert {"train/loss", "train/learning_rate", "eval/loss", "eval/perplexity"} <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("train/loss")] == [2, 4]


def test_weights_and_biases_by_its_switch(
    guide_folder: Path, textmill_says: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
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
        assert not (guide_folder / "run").exists()
        pytest.skip("needs the package wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert "wandb sync" in textmill_says(*words)
    import wandb  # pyright: ignore[reportMissingImports]

    wandb.teardown()  # as a process's end does: until then W&B may still be writing
    (recorded,) = guide_folder.glob("run/logs/wandb/offline-run-*/run-*.wandb")
    assert b"\x0dfundamentallm" in recorded.read_bytes().split(b"_wandb")[0]  # a string field of its first record


@pytest.mark.parametrize(
    ("flags", "name"), [(["--dtype", "float16"], "fp16"), (["--mixed-precision", "bf16"], "bf16")], ids=["fp16", "bf16"]
)
def test_a_hundred_steps_in_half_precision_stay_finite(
    guide_folder: Path, textmill_says: Says, flags: list[str], name: str
) -> None:
    """Every loss of a hundred fp16 or bf16 steps is a number, and the loss falls; they are not the steps of fp32."""
    words = ["--logging-steps", "10", "--learning-rate", "1e-2", "--lr-schedule", "constant", "--warmup-steps", "0"]
    small = ["--tokenizer", "byte", "--d-model", "16", "--num-layers", "1", "--num-heads", "1", "--max-seq-len", "16"]
    base = ["train", "data.txt", *small, *words, "--batch-size", "4", "--eval-steps", "100", "--sample-steps", "0"]
    assert f"on cpu, {name}" in textmill_says(*base, *flags, "--max-steps", "100", "--output-dir", "run")
    logged = rows(guide_folder / "run" / "steps.jsonl")
    textmill_says(*base, "--dtype", "float32", "--max-steps", "10", "--output-dir", "exact")
    full = rows(guide_folder / "exact" / "steps.jsonl")
    assert 0 < abs(full[0]["train_loss"] - logged[0]["train_loss"]) < 0.05
    assert all(row["train_loss"] is not None and math.isfinite(row["train_loss"]) for row in logged)
    assert logged[-1]["train_loss"] < logged[0]["train_loss"] - 0.5


@pytest.mark.slow
def test_a_compiled_run_is_read_by_plain_code(guide_folder: Path, textmill_says: Says) -> None:
    """`--compile`: the step is compiled, the checkpoint has plain names, and no later verb has to compile."""
    torch._dynamo.utils.counters.clear()
    textmill_says("train", "data.txt", "--output-dir", "run", *TINY, "--max-steps", "3", "--compile")
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    assert "loss" in json.loads(textmill_says("evaluate", "run", "--json"))
    assert textmill_says("generate", "run", "--prompt", "def ", "--max-new-tokens", "3").startswith("def ")


def test_the_prompt_is_answered_after_training(guide_folder: Path, textmill_says: Says) -> None:
    """The example script's flags: after training, the sample prompt stands once more on the screen with an answer."""
    out = textmill_says(
        *("train", "--data_dir", "./Model_Test", "--output_dir", "./Model_Test/output", "--epochs", "1"),
        *("--batch_size", "8", "--block_size", "64", "--embed_dim", "32", "--layers", "1", "--heads", "2"),
        *("--lr", "6e-4", "--prompt", "Security is", "--max_new_tokens", "8", "--temperature", "0.8", "--top_p", "0.9"),
        *("--tokenizer", "byte", "--sample-steps", "0"),
    )
    assert out.count("| Security is") == 1
    samples = rows(guide_folder / "Model_Test" / "output" / "samples.jsonl")
    status = json.loads((guide_folder / "Model_Test" / "output" / "status.json").read_text())
    assert [sample["step"] for sample in samples] == [status["step"]]
    assert samples[0]["text"].startswith("Security is")


def test_text_is_generated_on_the_way(guide_folder: Path, textmill_says: Says) -> None:
    """`--sample-steps 2 --sample-prompt TEXT`: every second step goes on from the text, on the screen and in a file."""
    words = ["--max-steps", "5", "--sample-steps", "2", "--sample-prompt", "import ", "--max_new_tokens", "6"]
    out = textmill_says("train", "data.txt", "--output-dir", "run", *TINY, *words)
    samples = rows(guide_folder / "run" / "samples.jsonl")
    assert [sample["step"] for sample in samples] == [2, 4, 5]  # and the answer at the end
    assert all(sample["text"].startswith("import ") and len(sample["text"]) > 7 for sample in samples)
    assert out.count("| import ") == 3


def test_a_given_tokenizer_may_be_larger_than_the_presets(guide_folder: Path, textmill_says: Says) -> None:
    """A vocabulary that the automatic preset would train is no limit for characters or a tokenizer that is there."""
    (guide_folder / "signs.txt").write_text("".join(chr(0x4E00 + sign % 1500) for sign in range(6000)))
    words = [*TINY[2:], "--max-steps", "1", "--sample-steps", "0"]
    textmill_says("train", "signs.txt", "--tokenizer", "char", "--output-dir", "run", *words)
    textmill_says(
        "train", "data.txt", "--tokenizer", "run/tokenizer", "--output-dir", "other", "--max-unknown", "1", *words
    )
    saved = json.loads((guide_folder / "other" / "best_model" / "config.json").read_text())
    assert saved["vocab_size"] == 1501


def test_a_json_file_and_a_resume(guide_folder: Path, textmill_says: Says) -> None:
    """`--config config.json --resume_from_checkpoint ./checkpoints/checkpoint-4.pt`: the trainer guide's two lines."""
    model = {"d_model": 32, "n_heads": 2, "n_layers": 1, "d_ff": 64, "max_seq_len": 32, "activation": "gelu"}
    training = {"batch_size": 4, "max_steps": 6, "save_steps": 2, "checkpoint_dir": "./checkpoints", "use_amp": False}
    config = {"model": model, "training": training, "data": {"train_file": "data.txt", "min_length": 10}}
    (guide_folder / "config.json").write_text(json.dumps(config))
    textmill_says("train", "--config", "config.json", "--sample-steps", "0")
    words = ["--config", "config.json", "--resume_from_checkpoint", "./checkpoints/checkpoint-4.pt"]
    assert "at step 4 of 6" in textmill_says("train", *words, "--sample-steps", "0")


def test_a_run_inside_its_data_is_not_its_data(guide_folder: Path, textmill_says: Says) -> None:
    """The output folder lies in the folder of the text; made again, the run reads the text alone."""
    words = ["train", "--data_dir", "Model_Test", "--output_dir", "Model_Test/output", *TINY, "--max-steps", "2"]
    textmill_says(*words)
    first = json.loads((guide_folder / "Model_Test" / "output" / "environment.json").read_text())["identity"]["data"]
    out = textmill_says(*words, "--overwrite")
    assert (
        json.loads((guide_folder / "Model_Test" / "output" / "environment.json").read_text())["identity"]["data"]
        == first
    )
    assert "is a run folder, not text" in out
    assert "step 3" in textmill_says(*words[:5], "--resume", "--max-steps", "3")


def test_a_tokenizer_that_is_not_there_is_trained(guide_folder: Path, textmill_says: Says) -> None:
    """`train model --data FILE --tokenizer DIR --output DIR` says that there is none, and trains it."""
    words = ["train", "model", "--data", "training_data.txt", "--tokenizer", "./tokenizer", "--output", "./model"]
    words += ["--epochs", "10", "--batch-size", "4", "--max-steps", "2", *TINY[2:-4], "--vocab-size", "300"]
    assert "no tokenizer in tokenizer" in textmill_says(*words)
    assert (guide_folder / "model" / "tokenizer" / "tokenizer.json").is_file()
    textmill_says(*words, "--resume")
    (guide_folder / "model" / "tokenizer").rename(guide_folder / "tokenizer")
    out = textmill_says(*[word.replace("./model", "./other") for word in words if word not in ("--vocab-size", "300")])
    assert "no tokenizer" not in out


def test_a_run_is_called_from_a_script(guide_folder: Path, textmill_says: Says, capsys: pytest.CaptureFixture) -> None:
    """`python src/training/train.py` with `src/config/config.yaml`: two lines that make the guide's command work."""
    (guide_folder / "src" / "config").mkdir(parents=True)
    (guide_folder / "src" / "training").mkdir()
    (guide_folder / "src" / "config" / "config.yaml").write_text(
        "data: {data: data.txt, seq_length: 32}\n"
        "training: {epochs: 3, batch_size: 2, dim_model: 32, num_layers: 1, num_heads: 4, dim_ff: 64, dropout: 0.1,\n"
        "  learning_rate: 3e-4, weight_decay: 0.01, num_steps: 3, warmup_steps: 300, patience: 2}\n"
        'device: "cpu"\n'
    )
    (guide_folder / "src" / "training" / "train.py").write_text(
        "import textmill\ntextmill.train('src/config/config.yaml')\n"
    )
    runpy.run_path(str(guide_folder / "src" / "training" / "train.py"))
    assert "warmup_steps: 0 instead of 300" in capsys.readouterr().out
    assert "experiment_2" in textmill_says("train", "--config", "src/config/config.yaml")
    last = rows(guide_folder / "runs" / "experiment_1" / "metrics.jsonl")[-1]
    assert {"epoch", "train_loss", "val_loss", "val_perplexity"} <= last.keys()


def test_a_sweep_keeps_its_runs_apart(guide_folder: Path, textmill_says: Says) -> None:
    """The last guide's loop over learning rates: one folder per run name, and none is written twice."""
    words = ["train", "--train_data", "data/train.npy", "--val_data", "data/val.npy", *TINY[2:], "--max_steps", "2"]
    for rate in ("1e-4", "2e-4"):
        textmill_says(*words, "--learning_rate", rate, "--wandb_run_name", f"lr_{rate}")
    finals = {
        path.parent.parent.name: path.read_bytes() for path in guide_folder.glob("runs/*/final/model.safetensors")
    }
    assert len(set(finals.values())) == 2
    assert finals.keys() == {"lr_1e-4", "lr_2e-4"}
    assert main([*words, "--learning_rate", "1e-4", "--wandb_run_name", "lr_1e-4"]) == 2


def test_a_checkpoint_is_named_relative_to_the_run(guide_folder: Path, textmill_says: Says) -> None:
    """`--resume_from checkpoints/checkpoint_step_2.pt` is the newest run's, and that of the output folder if given."""
    words = ["train", "--train_data", "data/train.npy", "--val_data", "data/val.npy"]
    small = [*TINY[2:], "--save_steps", "2"]
    textmill_says(*words, *small, "--max_steps", "4")
    textmill_says(*words, *small, "--max_steps", "4", "--checkpoint_dir", "checkpoints")
    for folder in (["--checkpoint_dir", "checkpoints"], []):
        out = textmill_says(*words, *folder, "--resume_from", "checkpoints/checkpoint_step_2.pt", "--max_steps", "6")
        assert "at step 2" in out
    (guide_folder / "checkpoints").rename(guide_folder / "elsewhere")
    out = textmill_says(*words, "--resume_from", "checkpoints/checkpoint_step_4.pt", "--max_steps", "7")
    assert "experiment_1" in out
    assert "at step 4" in out
