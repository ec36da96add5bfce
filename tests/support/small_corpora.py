"""Corpora of bytes made of given texts, and the documents that are in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from textmill.data import Corpus, prepare
from textmill.data.preparing.clean import Cleaning
from textmill.data.store.token_shards import ShardWriter


def paragraphs_of(path: Path, min_words: int) -> list[str]:
    """Different paragraphs of WikiText, the signs that its makers put into numbers and for rare words taken out."""
    text = path.read_text(encoding="utf-8").replace("<unk>", "somebody")
    for sign in "-,.":
        text = text.replace(f" @{sign}@ ", sign)
    return list(dict.fromkeys(line.strip() for line in text.splitlines() if len(line.split()) > min_words))


def write(path: Path, texts: list[str]) -> Path:
    """A document per line of a JSONL file."""
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def made(folder: Path, texts: list[str], validation: list[str] | None = None, **cleaning: Any) -> Corpus:
    """A corpus of `texts` to train on, and of `validation` to validate on, cleaned as said."""
    held_out = write(folder / "validation.jsonl", validation) if validation is not None else None
    return prepare(
        write(folder / "train.jsonl", texts),
        val_data=held_out,
        val_split=None if held_out else 0,
        tokenizer="byte",
        cleaning=Cleaning(**cleaning),
        cache_dir=folder / "cache",
    )


def kept(corpus: Corpus) -> list[str]:
    """The documents of the training side, in their order."""
    assert corpus.tokenizer is not None
    ids = corpus.train.read(0, len(corpus.train))
    return corpus.tokenizer.decode(ids, skip_special_tokens=False).split("<|endoftext|>")[:-1]


def end_document(writer: ShardWriter) -> None:
    """End a document whose ids were written: with its EOS token, if the store has one."""
    eos = np.array([] if writer.eos_id is None else [writer.eos_id], dtype=writer.dtype)
    writer.write(eos, 0, np.array([eos.size]))
