"""The guides' Python, with nothing but the import's name changed."""

# pyright: reportCallIssue=false
# The guides' spellings are aliases, of which a type checker knows nothing.

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import textmill as tm
from textmill.config import DataConfig, ModelConfig, TrainingConfig
from textmill.console.screen import Screen
from textmill.data import TextDataset
from textmill.data.batches.loader import Batch
from textmill.errors import ConfigError
from textmill.training import Trainer, load_checkpoint
from textmill.training.start_run import causal_loss

QUIET = Screen(quiet=True)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def tiny_model(**options: Any) -> nn.Module:
    return tm.build_model(ModelConfig(d_model=32, n_heads=2, n_layers=1, max_seq_len=32, **options), seed=1)


def tiny_training(folder: str, **options: Any) -> TrainingConfig:
    values = {"batch_size": 4, "max_steps": 6, "learning_rate": 1e-3, "sample_steps": 0, "checkpoint_dir": folder}
    return TrainingConfig(**{**values, **options})


def test_a_trainer_of_parts(guide_folder: Path) -> None:
    """`Trainer(model=, train_dataset=, val_dataset=, config=).train()` has its results as attributes and as keys."""
    train_dataset = TextDataset("data.txt", block_size=32)
    val_dataset = TextDataset("Model_Test/text0.txt", block_size=32)
    training_config = tiny_training("run")
    trainer = Trainer(model=tiny_model(), train_dataset=train_dataset, val_dataset=val_dataset, config=training_config)
    results = trainer.train()
    for name in ("final_train_loss", "final_val_loss", "best_val_loss"):
        assert f"{getattr(results, name):.4f}" == f"{results[name]:.4f}"
        assert 1 < results[name] < 6
    assert results.training_time > 0
    assert results.total_steps == 6
    last = rows(guide_folder / "run" / "metrics.jsonl")[-1]
    assert (last["train_loss"], last["val_loss"]) == (results.final_train_loss, results.final_val_loss)
    assert trainer.run is not None
    text = tm.generate_text("run", prompt="def ", max_new_tokens=4)
    assert text.startswith("def ")


def test_a_trainer_takes_any_module(guide_folder: Path) -> None:
    """A module from ids to logits that is not ours trains, learns, and goes on from its own checkpoint."""
    torch.manual_seed(0)
    dataset = TextDataset("data.txt", block_size=16)
    model = nn.Sequential(nn.Embedding(257, 16), nn.Linear(16, 257))
    first = Trainer(model, dataset, None, tiny_training("run", max_steps=30, learning_rate=1e-2), screen=QUIET).train()
    assert first.final_train_loss is not None
    assert first.final_train_loss < math.log(257) - 0.3
    again = nn.Sequential(nn.Embedding(257, 16), nn.Linear(16, 257))
    config = tiny_training("run", max_steps=32, learning_rate=1e-2, resume_from_checkpoint="run/checkpoint-30.pt")
    assert Trainer(again, dataset, None, config, screen=QUIET).train().total_steps == 32


def test_own_metrics_by_overriding(guide_folder: Path) -> None:
    """`class CustomTrainer(Trainer)` with `_log_metrics`: what it measures is in steps.jsonl and with the trackers."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    class CustomTrainer(Trainer):
        def _log_metrics(self, loss: float) -> None:
            super()._log_metrics(loss)
            assert self.model is not None
            custom_metrics = {
                "custom/metric1": next(self.model.parameters()).detach().norm(),
                "custom/metric2": math.exp(loss),
            }
            self.metrics_tracker.update(custom_metrics, self.current_step)

    dataset = TextDataset("data.txt", block_size=32)
    config = tiny_training("run", report_to=["tensorboard"], logging_steps=2)
    CustomTrainer(tiny_model(), dataset, None, config, screen=QUIET).train()
    logged = rows(guide_folder / "run" / "steps.jsonl")
    assert [row["step"] for row in logged] == [2, 4, 6]
    assert all(row["custom/metric2"] == pytest.approx(math.exp(row["train_loss"])) for row in logged)
    events = EventAccumulator(str(guide_folder / "run" / "logs"))
    events.Reload()
    shown = [event.value for event in events.Scalars("custom/metric1")]
    assert shown == pytest.approx([row["custom/metric1"] for row in logged])


def test_an_own_metric_needs_an_own_name(guide_folder: Path) -> None:
    """A metric called as a built-in one would hide it, and is refused."""

    class Wrong(Trainer):
        def _log_metrics(self, loss: float) -> None:
            self.metrics_tracker.update({"train_loss": 0.0}, self.current_step)

    with pytest.raises(ConfigError, match="built-in"):
        Wrong(tiny_model(), TextDataset("data.txt", block_size=32), None, tiny_training("run", logging_steps=1)).train()


def test_rows_longer_than_the_context_are_refused(guide_folder: Path) -> None:
    """A dataset and a model that do not fit each other are one line, before anything is written."""
    with pytest.raises(ConfigError, match="block_size 64"):
        Trainer(tiny_model(), TextDataset("data.txt", block_size=64))


def test_three_calls_from_preset_to_result(guide_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """load_config(preset=), build_model, TextDataset, train_model: the quick start in Python."""
    config = tm.load_config(preset="cpu_small")
    config.model.num_layers = 1
    config.model.embedding_dim = 32  # type: ignore[attr-defined]
    config.model.max_seq_length = 32  # type: ignore[attr-defined]
    config.training.batch_size = 4
    config.training.max_steps = 3
    model = tm.build_model(config.model)
    dataset = TextDataset("training_data.txt", block_size=config.model.max_seq_length)  # type: ignore[attr-defined]
    results = tm.train_model(model, dataset, config.training)
    assert results.total_steps == 3
    assert results.output_dir == Path("runs/experiment_1")
    saved = tm.load_config("runs/experiment_1/config.yaml")
    assert (saved.model.d_model, saved.model.num_layers, saved.model.max_seq_len) == (32, 1, 32)


def test_settings_are_assigned_after_construction() -> None:
    """The troubleshooting lines: one attribute at a time, under the guide's names, each checked."""
    config = TrainingConfig(batch_size=16, num_epochs=10, learning_rate=3e-4, scheduler="cosine", save_every=1000)
    model_config = ModelConfig(gradient_checkpointing=True)
    config.batch_size = 8
    model_config.gradient_checkpointing = True
    config.gradient_accumulation_steps = 4
    config.warmup_steps = 2000
    config.optimizer = "adam"
    config.max_grad_norm = 0.5
    config.weight_decay = 0.1
    assert (config.batch_size, config.save_steps, config.num_epochs) == (8, 1000, 10)  # type: ignore[attr-defined]
    with pytest.raises(ConfigError):
        config.batch_size = "many"  # type: ignore[assignment]


def test_the_three_sections_meet_in_one_run(guide_folder: Path) -> None:
    """Model, training and data configurations of the first trainer guide make a run together."""
    model_config = ModelConfig(d_model=32, n_heads=4, n_layers=1, d_ff=64, max_seq_len=32, activation="gelu")
    training_config = tiny_training(
        "./checkpoints", gradient_accumulation_steps=2, lr_scheduler="cosine", use_amp=False
    )
    data_config = DataConfig(data="data.txt", max_length=32, min_length=10, pack_sequences=True)
    result = tm.train(tm.load_config(model=model_config, training=training_config, data=data_config), screen=QUIET)
    assert result.output_dir == Path("checkpoints")
    assert (guide_folder / "checkpoints" / "best_model" / "model.safetensors").is_file()


def script(arguments: list[str]) -> str | None:
    """The example script's main(), its configuration and calls unchanged."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data_dir", type=str, default=None)
    parser.add_argument("--output_dir", type=str, default=None)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch_size", type=int, default=1)
    parser.add_argument("--block_size", type=int, default=64)
    parser.add_argument("--embed_dim", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--lr", type=float, default=6e-4)
    parser.add_argument("--prompt", type=str, default="Cybersecurity is important because")
    args = parser.parse_args(arguments)
    data_dir = Path(args.data_dir)
    output_dir = Path(args.output_dir) if args.output_dir else (data_dir / "output")
    output_dir.mkdir(parents=True, exist_ok=True)
    config = {
        "vocab_size": 8000,
        "block_size": int(args.block_size),
        "training": {
            "batch_size": int(args.batch_size),
            "learning_rate": float(args.lr),
            "num_epochs": int(args.epochs),
            "max_grad_norm": 1.0,
            "save_every": 1,
            "log_every": 10,
        },
        "model": {
            "embedding_dim": int(args.embed_dim),
            "num_layers": int(args.layers),
            "num_heads": int(args.heads),
            "max_seq_length": int(args.block_size),
            "dropout": 0.1,
        },
    }
    tm.train(data_path=str(data_dir), output_dir=str(output_dir), config=config, clean=False)
    tokenizer_dir = output_dir / "tokenizer"
    if not tokenizer_dir.exists():
        return None
    return tm.generate_text(
        model_path=str(output_dir / "checkpoints" / "best_checkpoint.pt"),
        tokenizer_path=str(tokenizer_dir),
        prompt=args.prompt,
        max_new_tokens=8,
        temperature=0.8,
        top_p=0.9,
    )


def test_the_example_script(guide_folder: Path, capsys: pytest.CaptureFixture) -> None:
    """Train on a folder of small texts and write: vocabulary shrunk and said, one checkpoint per epoch, a text."""
    words = ["--data_dir", "./Model_Test", "--output_dir", "./Model_Test/output", "--epochs", "2", "--batch_size", "8"]
    text = script([*words, "--embed_dim", "32", "--layers", "1", "--heads", "2"])
    assert text is not None
    assert text.startswith("Cybersecurity is important because")
    assert "instead of 8000" in capsys.readouterr().out
    output = guide_folder / "Model_Test" / "output"
    epochs = [row["epoch"] for row in rows(output / "metrics.jsonl")]
    assert [math.floor(epoch) for epoch in epochs] == [1, 2]
    later = tm.generate_text(
        model_path=r".\Model_Test\output\checkpoints\latest_checkpoint.pt",
        tokenizer_path=r".\Model_Test\output\tokenizer",
        prompt="what is Cybersecurity",
        max_new_tokens=8,
        temperature=0.8,
        top_p=0.9,
    )
    assert later.startswith("what is Cybersecurity")
    assert tm.generate_text(model_path=str(output / "checkpoint_epoch_1.pt"), prompt="a", max_new_tokens=1)


def test_metrics_open_in_pandas(guide_folder: Path) -> None:
    """`pd.read_json("metrics.jsonl", lines=True)`: every row has the four columns, and they can be drawn."""
    pandas = pytest.importorskip("pandas")
    tm.train(tiny_training("runs/experiment_1", eval_steps=2), data="data.txt", d_model=32, num_layers=1, num_heads=2)
    frame = pandas.read_json("runs/experiment_1/metrics.jsonl", lines=True)
    columns = frame[["epoch", "train_loss", "val_loss", "val_perplexity"]]
    assert len(columns) == 3
    assert columns.notna().all().all()
    assert columns["val_perplexity"].tolist() == pytest.approx([math.exp(loss) for loss in columns["val_loss"]])
    from matplotlib.figure import Figure

    figure = Figure()
    figure.subplots().plot(frame["epoch"], frame["val_loss"])
    figure.savefig("training_curves.png")


@pytest.mark.parametrize("kind", ["ours", "plain"])
def test_a_loop_of_ones_own_goes_on(guide_folder: Path, kind: str) -> None:
    """load_checkpoint: step, next epoch, weights, the optimizer's moments by name, and the scheduler's place."""
    result = tm.train(
        tiny_training(
            "runs/experiment_1", max_steps=None, epochs=2, batch_size=16, save_steps="epoch", optimizer="adamw"
        ),
        data="Model_Test",
        tokenizer="byte",
        d_model=32,
        num_layers=1,
        num_heads=2,
        max_seq_len=32,
        screen=QUIET,
    )
    model = tm.build_model(tm.load_config("runs/experiment_1").model)
    if kind == "ours":
        from textmill.optim.optimizer_choice import build_optimizer

        optimizer = build_optimizer(model, learning_rate=1e-3)
    else:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    warm = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=10)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=result.total_steps)
    scheduler = torch.optim.lr_scheduler.SequentialLR(optimizer, [warm, cosine], milestones=[10])
    place_of_it = "runs/experiment_1/checkpoints/last.pt"
    global_step, start_epoch = load_checkpoint(model, optimizer, scheduler, place_of_it, "cpu")
    assert (global_step, start_epoch) == (result.total_steps, 2)
    assert scheduler.last_epoch == global_step
    assert cosine.last_epoch == global_step - 10
    saved = tm.generate_text("runs/experiment_1/last", prompt="def", max_new_tokens=8, temperature=0)
    tokenizer = str(guide_folder / "runs" / "experiment_1" / "tokenizer")
    assert tm.generate_text(model, tokenizer, "def", max_new_tokens=8, temperature=0) == saved
    name, parameter = next(iter(model.named_parameters()))
    moments = load_file(result.output_dir / "checkpoints" / f"step-{global_step:07d}" / "optimizer.safetensors")
    assert torch.equal(optimizer.state[parameter]["exp_avg"], moments[f"exp_avg/{name}"])
    first, epoch = load_checkpoint(model, None, None, "runs/experiment_1/checkpoints/checkpoint_epoch_1.pt")
    assert (epoch, first < global_step) == (1, True)


def test_smoothing_does_not_show_in_the_loss(guide_folder: Path) -> None:
    """With label smoothing `train_loss` is the plain cross-entropy, and `train_objective` what is minimised."""
    model = tiny_model()
    dataset = TextDataset("data.txt", block_size=32)
    batch: Batch = dataset.rows.batch(torch.arange(4).numpy())
    minimised, reported = causal_loss(label_smoothing=0.1)(model, batch)
    logits = model(batch.tokens).flatten(0, 1)
    expected = nn.functional.cross_entropy(logits, batch.targets.flatten(), reduction="sum")
    smooth = nn.functional.cross_entropy(logits, batch.targets.flatten(), reduction="sum", label_smoothing=0.1)
    torch.testing.assert_close((minimised, reported), (smooth, expected))
    assert not reported.requires_grad
    plain = causal_loss()(model, batch)
    torch.testing.assert_close(plain, expected)
    Trainer(model, dataset, None, tiny_training("run", label_smoothing=0.1, logging_steps=3), screen=QUIET).train()
    logged = rows(guide_folder / "run" / "steps.jsonl")
    assert all(row["train_objective"] > row["train_loss"] * 0.5 for row in logged)
    assert all(row["train_objective"] != row["train_loss"] for row in logged)
    Trainer(tiny_model(), dataset, None, tiny_training("plain"), screen=QUIET).train()
    assert "train_objective" not in (guide_folder / "plain" / "steps.jsonl").read_text()
