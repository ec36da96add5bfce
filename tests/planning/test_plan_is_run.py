"""What a plan says is what the run does."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import textmill as tm
from textmill.cli.main import main
from textmill.config import load_config
from textmill.console.screen import Screen


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Text that is planned exactly: a file of bytes, arrays of ids, and prepared documents of many lengths."""
    folder = tmp_path_factory.mktemp("texts")
    draw = random.Random(0)
    words = [
        " ".join(draw.choices(["mill", "text", "learns", "to", "write", "12"], k=draw.randint(3, 90)))
        for _ in range(60)
    ]
    (folder / "book.txt").write_text("\n".join(words))
    (folder / "lines.jsonl").write_text("\n".join(f'{{"text": "{line}"}}' for line in words))
    np.save(folder / "ids.npy", np.random.default_rng(0).integers(0, 777, 5000, dtype=np.int32))
    tm.prepare(folder / "lines.jsonl", tokenizer="bpe", vocab_size=270, output=folder / "prepared")
    return {name: str(folder / name) for name in ("book.txt", "ids.npy", "prepared")}


def drawn(draw: random.Random, texts: dict[str, str]) -> dict[str, Any]:
    """Return settings of a small run, their number and kind a matter of chance."""
    name = draw.choice(list(texts))
    heads = draw.choice([1, 2, 4])
    settings = {
        "data": texts[name],
        "tokenizer": "byte" if name == "book.txt" else "bpe",
        "architecture": draw.choice(["qwen3", "llama", "gpt2"]),
        "num_layers": draw.randint(1, 3),
        "num_heads": heads,
        "d_model": heads * draw.choice([4, 8, 12]),
        "max_seq_len": draw.choice([16, 40, 64]),
        "device": "cpu",
        "precision": "fp32",
    }
    chances = {
        "batch_size": draw.randint(1, 8),
        "gradient_accumulation_steps": draw.randint(1, 3),
        "num_kv_heads": 1,
        "d_ff": draw.randint(5, 90),
        "tie_embeddings": draw.random() < 0.5,
        "bias": draw.random() < 0.5,
        "warmup_steps": draw.randint(0, 400),
        "packing_strategy": draw.choice(["greedy", "first_fit", "best_fit"]),
        "optimizer": draw.choice(["sgd", "muon", "adam"]),
    }
    settings |= {setting: value for setting, value in chances.items() if draw.random() < 0.5}
    lengths = {
        "epochs": draw.choice([0.5, 1, 2.5]),
        "max_steps": draw.randint(1, 60),
        "max_tokens": draw.randint(9, 9000),
        "max_flops": draw.uniform(1e6, 1e9),
    }
    chosen = draw.sample(list(lengths), draw.randint(0, 2))
    return settings | {setting: lengths[setting] for setting in chosen}


@pytest.mark.parametrize("seed", range(12))
def test_a_plan_is_what_the_run_says(
    seed: int, texts: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Steps, tokens, epochs, parameters, and every value made to fit: the same of a dozen runs drawn by chance."""
    settings = drawn(random.Random(seed), texts)
    words = [f"--{setting.replace('_', '-')}={value}" for setting, value in settings.items()]
    assert main(["plan", "--json", *words]) == 0
    planned = capsys.readouterr()
    plan = json.loads(planned.out)
    config = load_config(settings, output_dir=str(tmp_path / "run"), cache_dir=str(tmp_path / "cache"))
    with tm.assemble(config, screen=Screen()) as run:
        length = run.length
        assert not plan["text"]["estimated"] or settings["tokenizer"] == "byte"
        assert plan["steps"] == length.total_steps
        assert plan["set_by"] == length.limit
        assert plan["tokens_per_step"] == length.tokens_per_step
        assert plan["epochs"] == length.epochs
        assert plan["parameters"]["total"] == sum(parameter.numel() for parameter in run.model.parameters())
        assert plan["text"]["vocab_size"] == run.config.model.vocab_size
    said = capsys.readouterr().out
    for sentence in planned.err.splitlines():
        assert sentence.removeprefix("preset: ") in said
    assert said.count(" instead of ") == planned.err.count(" instead of ")
