"""Whatever a run was trained on, its validation text is worth the same when it is given by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from textmill import train
from textmill.evaluation import evaluate_model

STORIES = [f"Story {number} of the mill by the river, where {number} bears grind corn.\n" for number in range(40)]


def book(folder: Path, name: str) -> Path:
    (folder / f"{name}.txt").write_text("".join(STORIES))
    return folder / f"{name}.txt"


def rows(folder: Path, name: str) -> Path:
    (folder / f"{name}.jsonl").write_text("".join(json.dumps({"body": text}) + "\n" for text in STORIES))
    return folder / f"{name}.jsonl"


def marked(folder: Path, name: str) -> Path:
    (folder / f"{name}.txt").write_text("<|endoftext|>\n".join(STORIES))
    return folder / f"{name}.txt"


def array(folder: Path, name: str) -> Path:
    np.save(folder / f"{name}.npy", np.random.default_rng(len(name)).integers(0, 700, 2000).astype(np.uint16))
    return folder / f"{name}.npy"


def plain(folder: Path, name: str) -> Path:
    np.random.default_rng(len(name)).integers(0, 700, 2000).astype("<u2").tofile(folder / f"{name}.bin")
    return folder / f"{name}.bin"


PAIRS: dict[str, tuple[Callable[[Path, str], Path], Callable[[Path, str], Path], dict[str, Any]]] = {
    "one text, documents to validate": (book, marked, {}),
    "documents, one text to validate": (marked, book, {}),
    "rows with a column of their own": (rows, rows, {"text_column": "body"}),
    "rows, a text to validate": (rows, book, {"text_column": "body"}),
    "a separator of one's own": (book, book, {"document_separator": "corn.\\n"}),
    "documents that are masked": (marked, marked, {"mask_documents": True}),
    "rows of whole documents": (marked, marked, {"pack_sequences": False}),
    "an array of ids": (array, array, {}),
    "ids without a header": (plain, plain, {}),
    "an array and ids without a header": (array, plain, {}),
    "a short text to validate": (book, lambda folder, name: short(folder, name), {}),
}


def short(folder: Path, name: str) -> Path:
    (folder / f"{name}.txt").write_text("three words, short")
    return folder / f"{name}.txt"


@pytest.mark.parametrize("pair", PAIRS)
def test_the_validation_text_by_name_is_the_validation_text(tmp_path: Path, pair: str) -> None:
    """The same tokens and the same loss as on the run's own validation set, to the rounding of float32."""
    training, validation, settings = PAIRS[pair]
    data, held_out = training(tmp_path, "train"), validation(tmp_path, "validation")
    ids = data.suffix in (".npy", ".bin")
    train(
        data=str(data),
        val_data=str(held_out),
        output_dir=str(tmp_path / "run"),
        cache_dir=str(tmp_path / "cache"),
        **({"vocab_size": 700} if ids else {"tokenizer": "byte"}),
        d_model=16,
        num_layers=1,
        num_heads=2,
        d_ff=32,
        max_seq_len=48,
        batch_size=2,
        max_steps=1,
        **settings,
    )
    options: dict[str, Any] = {"device": "cpu", "precision": "fp32", "cache_dir": tmp_path / "cache"}
    own = evaluate_model(tmp_path / "run", **options)
    named = evaluate_model(tmp_path / "run", held_out, **options)
    assert named["tokens"] == own["tokens"]
    assert named["loss"] == pytest.approx(own["loss"], rel=1e-5)
    assert named.get("bits_per_byte") == (pytest.approx(own["bits_per_byte"], rel=1e-5) if not ids else None)
