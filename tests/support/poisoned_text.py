"""A run with a loss spike: one sentence, again and again, and a paragraph of noise in rows that come late."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

LENGTH = ["--max-steps", "90", "--save-steps", "10", "--eval-steps", "45"]

SEED = "10"
"""Of which the poisoned rows come late enough to be compared with 32 losses."""


def poisoned_command(folder: Path) -> list[str]:
    """Write the text into `folder`, and return the command of a run on it, without its length."""
    text = "The miller ground the corn, and the river ground the stones. " * 100
    noise = "".join(map(chr, random.Random(3).choices(range(0x4E00, 0x9FFF), k=60)))
    (folder / "book.txt").write_text(text[:3000] + noise + text[3000:], encoding="utf-8")
    return [
        *("train", str(folder / "book.txt"), "--cache-dir", str(folder / "cache"), "--tokenizer", "byte"),
        *("--d-model", "16", "--num-layers", "1", "--num-heads", "2", "--max-seq-len", "32", "--batch-size", "2"),
        *("--optimizer", "adamw", "--learning-rate", "1e-2", "--dropout", "0.1", "--precision", "fp32"),
        *("--logging-steps", "4", "--sample-steps", "0", "--seed", SEED, "--device", "cpu"),
    ]


def records(run: Path) -> list[dict[str, Any]]:
    """Return the rollbacks that the last checkpoint has."""
    last = max((run / "checkpoints").glob("step-*"))
    return json.loads((last / "state.json").read_text())["progress"]["rollbacks"]
