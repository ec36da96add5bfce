"""Small real runs, and runs written by hand with hostile content."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from textmill.cli.main import main

HOSTILE = '</script><script>alert("x")</script><img src=x onerror=alert(1)>\'"&'


def train_small(folder: Path, book: Path, cache: Path, *extra: str) -> Path:
    """Return the folder of a run of 4 steps."""
    words = ["train", str(book), "--tokenizer", "byte", "--d-model", "16", "--num-layers", "1", "--num-heads", "2"]
    words += [
        "--max-seq-len",
        "16",
        "--batch-size",
        "2",
        "--max-steps",
        "4",
        "--eval-steps",
        "2",
        "--sample-tokens",
        "4",
    ]
    words += [
        "--sample-tokens",
        "4",
        "--save-steps",
        "2",
        "--logging-steps",
        "1",
        "--cache-dir",
        str(cache),
        "--output-dir",
        str(folder),
    ]
    assert main([*words, *extra]) == 0
    return folder


def write_hostile(folder: Path) -> Path:
    """Return a run whose every text tries to be HTML."""
    folder.mkdir(parents=True)
    tree = {"training": {"seed": 1, "optimizer": HOSTILE}, "data": {"data": [HOSTILE]}, HOSTILE: {HOSTILE: HOSTILE}}
    (folder / "config.yaml").write_text(yaml.safe_dump(tree))
    status = {"state": HOSTILE, "reason": HOSTILE, "time": HOSTILE, "step": HOSTILE}
    (folder / "status.json").write_text(json.dumps(status))
    origins = {"seed": HOSTILE, "optimizer": HOSTILE}
    (folder / "environment.json").write_text(json.dumps({"device": HOSTILE, HOSTILE: HOSTILE, "origins": origins}))
    rows = [{"step": 1, "val_loss": 2.0, "train_loss": 2.5, HOSTILE: 3.0}, {"step": 2, "val_loss": None, HOSTILE: 1.0}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "samples.jsonl").write_text(json.dumps({"step": HOSTILE, "text": HOSTILE}) + "\n")
    return folder
