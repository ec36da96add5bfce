"""The run that the campaigns interrupt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import textmill

TINY = {
    "tokenizer": "char",
    "d_model": 16,
    "num_layers": 1,
    "num_heads": 1,
    "max_seq_len": 16,
    "batch_size": 2,
    "max_steps": 12,
    "save_steps": 4,
    "eval_steps": 4,
    "logging_steps": 3,
    "sample_steps": 6,
    "sample_tokens": 4,
    "save_total_limit": 1,
    "device": "cpu",
    "threads": 1,
    "precision": "fp32",
    "resume": "auto",
}


@pytest.fixture(scope="session")
def train(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], None]:
    """Train twelve steps in a folder, or what is left of them, with three checkpoints of which one is kept."""
    folder = tmp_path_factory.mktemp("text")
    text = folder / "text.txt"
    text.write_text("the cat sat on the mat and looked at the rat. " * 200)
    torch.set_num_threads(1)

    def train_in(output: Path) -> None:
        textmill.train(**TINY, data=str(text), cache_dir=str(folder / "cache"), output_dir=str(output))

    return train_in


@pytest.fixture(scope="session")
def whole(train: Callable[[Path], None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(folder)
    return folder
