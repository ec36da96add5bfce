"""Every block of Python, YAML and JSON of the guides, read from them and run with their packages called textmill.

What a guide leaves to its reader (a model, the text) is given; nothing else is added. Lines that ask whether a `.pt`
file exists have to go (docs/guides.md says so).
"""

# pyright: reportCallIssue=false
# The guides' spellings are aliases, of which a type checker knows nothing.

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import textmill as tm
from support.guide_commands import blocks, guides, python_in_shell
from textmill.config import PRESETS, Config, DataConfig, ModelConfig, TrainingConfig, load_config
from textmill.config.presets import Preset
from textmill.console.screen import Screen
from textmill.data import TextDataset
from textmill.tokenizers import make_char
from textmill.training import Trainer

QUIET = Screen(quiet=True)
SHAPE: dict[str, Any] = {"d_model": 32, "num_heads": 2, "num_layers": 1, "max_seq_len": 32}


def run(code: str, names: dict[str, Any]) -> dict[str, Any]:
    """Execute a block of a guide under our name, and return the names that it leaves."""
    code = re.sub(r"src\.training\.checkpoint", "textmill.training", code)
    code = re.sub(r"\b(llm_trainer|llmbuilder)\b", "textmill", code)
    code = re.sub(r"^( *)(#.*)\Z", r"\1pass  \2", code.rstrip(), flags=re.MULTILINE)  # a body that is a comment alone
    exec(compile(code, "<guide>", "exec"), names)
    return names


def tiny_model(**options: Any) -> nn.Module:
    return tm.build_model(ModelConfig(**{**SHAPE, **options}), seed=1)


def test_the_steps_of_the_first_guide(shared: Path, guide_folder: Path, text: str) -> None:
    """From the text to the weights' update in the guide's own six blocks: our tokenizer and model fit into them."""
    tokenizer = make_char(iter([text]))
    model = tiny_model(vocab_size=tokenizer.vocab_size, max_seq_len=256)
    names: dict[str, Any] = {"tokenizer": tokenizer, "model": model, "torch": torch, "F": functional}
    names["vocab_size"] = tokenizer.vocab_size
    names["optimizer"] = torch.optim.AdamW(model.parameters(), lr=1e-3)
    names["create_sequences"] = lambda tokens, max_len: torch.tensor(tokens[:max_len]).long()[None]  # for its .view()
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    for block in blocks(guides(shared)["000"], "python"):
        run(block, names)
    assert names["logits"].shape == (1, 256, tokenizer.vocab_size)
    assert any(not torch.equal(weight, before[name]) for name, weight in model.named_parameters())


def test_the_configurations_of_the_second_guide(shared: Path, guide_folder: Path) -> None:
    """Every Python block of the guide runs, and the sections that it makes are taken together."""
    made: list[ModelConfig | TrainingConfig | DataConfig] = []
    names: dict[str, Any] = {"Trainer": Trainer, "compute_custom_metric": lambda: 1.5}
    names["compute_another_metric"] = lambda: torch.tensor(2.5)
    for block in blocks(guides(shared)["001"], "python"):
        for name in ("model_config", "training_config", "data_config"):
            names.pop(name, None)
        names |= {"ModelConfig": ModelConfig, "TrainingConfig": TrainingConfig, "DataConfig": DataConfig}
        run(block, names)
        sections = [names[name] for name in ("model_config", "training_config", "data_config") if name in names]
        made += sections
        assert isinstance(load_config(*sections), Config)
    assert len(made) == 20
    dataset = TextDataset("data.txt", block_size=32)
    training = TrainingConfig(max_steps=2, batch_size=4, logging_steps=1, checkpoint_dir="run", sample_steps=0)
    names["CustomTrainer"](tiny_model(), dataset, None, training, screen=QUIET).train()
    last = json.loads((guide_folder / "run" / "steps.jsonl").read_text().splitlines()[-1])
    assert (last["step"], last["custom/metric1"], last["custom/metric2"]) == (2, 1.5, 2.5)


def test_the_files_of_the_third_guide(shared: Path, guide_folder: Path) -> None:
    """Its config.yaml is read as it stands, and so is every other YAML block, alone."""
    first, *others = blocks(guides(shared)["002"], "yaml")
    Path("config.yaml").write_text(first)
    config = load_config("config.yaml")
    values = {setting: value for setting, value in config.values().items() if config.given(setting)}
    assert values == dict(
        [("dataset_name", "wikitext"), ("dataset_config", "wikitext-2-raw-v1"), ("max_seq_len", 128), ("device", "cpu")]
        + [("d_model", 256), ("num_layers", 4), ("num_heads", 4), ("d_ff", 1024), ("dropout", 0.1), ("batch_size", 2)]
        + [("learning_rate", 3e-4), ("weight_decay", 0.01), ("early_stopping_patience", 2)]
        + [("epochs", 3), ("max_steps", 3000), ("warmup_steps", 300)]
    )
    for block in others:
        Path("config.yaml").write_text(re.sub(r"^torch\..*\n", "", block, flags=re.MULTILINE))  # a line of Python
        config = load_config("config.yaml")
        assert any(config.given(setting) for setting in config.values()), block


def test_the_training_step_of_the_third_guide(shared: Path, guide_folder: Path) -> None:
    """Its fragments of Python, in their order, around a model and a checkpoint of ours: the loop goes on."""
    training = TrainingConfig(
        epochs=2, batch_size=16, output_dir="runs/experiment_1", sample_steps=0, optimizer="adamw"
    )
    result = tm.train(training, data="Model_Test", tokenizer="byte", **SHAPE, screen=QUIET)
    model = tm.build_model(tm.load_config("runs/experiment_1").model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    exists = SimpleNamespace(path=SimpleNamespace(exists=lambda path: True))
    names: dict[str, Any] = {"model": model, "optimizer": optimizer, "device": "cpu", "os": exists, "torch": torch}
    names["scheduler"] = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=100)
    names["input_ids"] = torch.randint(0, 257, (2, 33))[:, :32]
    names["CrossEntropyLoss"] = lambda logits, ids: functional.cross_entropy(logits.flatten(0, 1), ids.flatten())
    names["clip_grad_norm_"] = nn.utils.clip_grad_norm_
    names["trainer"] = SimpleNamespace(global_step=0)
    names["config"] = {"training": {"epochs": 3}}
    skipped = 0
    for block in blocks(guides(shared)["002"], "python"):
        if block.startswith("python -c") or "'model_state_dict'" in block or "break" in block:
            skipped += 1  # command lines, the contents of a file, early stopping in words
        else:
            run(block, names)
    assert skipped == 3
    assert names["logits"].shape == (2, 31, 257) and names["loss"].isfinite()
    assert (names["trainer"].global_step, names["start_epoch"]) == (result.total_steps, 2)


def test_the_one_liners_of_the_third_guide(shared: Path, guide_folder: Path, capsys: pytest.CaptureFixture) -> None:
    """Its `python -c` lines look at metrics.jsonl through pandas and draw it; only the one with torch.load cannot."""
    pytest.importorskip("pandas")
    training = TrainingConfig(max_steps=6, eval_steps=2, batch_size=4, output_dir="runs/experiment_1", sample_steps=0)
    tm.train(training, data="data.txt", tokenizer="byte", **SHAPE, screen=QUIET)
    codes = [
        code for code in python_in_shell(guides(shared)["002"]) if "torch" not in code and "transformers" not in code
    ]
    assert len(codes) == 5
    for code in codes:
        run(code, {})
    assert capsys.readouterr().out.count("   epoch") == 4
    assert Path("training_curves.png").stat().st_size > 10_000


def test_the_python_of_the_fourth_guide(
    shared: Path, guide_folder: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quick start, example script, trainer, configurations and troubleshooting lines, in the guide's order."""
    Path("training_data.txt").write_text(text[:400])
    monkeypatch.setattr(sys, "argv", ["train_model.py", *SCRIPT.split()])
    smaller = {**PRESETS["cpu_small"].values, **SHAPE, "epochs": 1}
    monkeypatch.setitem(PRESETS, "cpu_small", Preset("for a test", smaller))
    names: dict[str, Any] = {}
    for block in blocks(guides(shared)["003"], "python"):
        if "argparse" in block:
            block = block.replace("best_ckpt if best_ckpt.exists() else latest_ckpt", "best_ckpt")
            block = block.replace("if model_ckpt.exists() and ", "if ")
            run(block, {"__name__": "__main__"})
            continue
        if "trainer.train()" in block:
            data = TextDataset("data.txt", block_size=32)
            parts = {"model": tiny_model(), "train_dataset": data, "val_dataset": data}
            training = TrainingConfig(max_steps=2, batch_size=4, output_dir="trained", sample_steps=0)
            names |= {**parts, "training_config": training}
        run(block, names)
    assert (names["config"].learning_rate, names["config"].optimizer, names["config"].max_grad_norm) == (
        1e-4,
        "adam",
        0.5,
    )
    assert names["model_config"].gradient_checkpointing is True
    assert names["results"].total_steps == 2


SCRIPT = "--data_dir ./Model_Test --output_dir ./Model_Test/output --epochs 1 --batch_size 8"
SCRIPT += " --embed_dim 32 --layers 1 --heads 2"


def test_the_one_liner_of_the_fourth_guide(shared: Path, guide_folder: Path, capsys: pytest.CaptureFixture) -> None:
    """`python -c` with generate_text, its paths written as on Windows."""
    training = TrainingConfig(max_steps=2, batch_size=4, output_dir="Model_Test/output", sample_steps=0)
    tm.train(training, data="Model_Test", tokenizer="byte", **SHAPE, screen=QUIET)
    [code] = python_in_shell(guides(shared)["003"])
    run(code, {})
    assert capsys.readouterr().out.startswith("what is Cybersecurity")
