"""A run records which code of the user made it, and the order of its rows has a seed of its own."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import textmill as tm
from textmill.config import load_config
from textmill.errors import ResumeError
from textmill.training.user_code import describe_user_code

SETTINGS: dict[str, Any] = {
    "tokenizer": "byte",
    "d_model": 16,
    "num_layers": 1,
    "num_heads": 2,
    "max_seq_len": 16,
    "batch_size": 4,
    "dropout": 0.0,
    "max_steps": 3,
    "sample_steps": 0,
}


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEXTMILL_CACHE", str(tmp_path / "cache"))
    Path("book.txt").write_text("".join(f"line {number} of the book\n" for number in range(300)))
    return "book.txt"


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_and_the_script_are_recorded(book: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As git itself says; outside of a repository and without a script there is nothing."""
    Path("experiment.py").write_text("print('hello')\n")
    monkeypatch.setattr(sys, "argv", ["experiment.py"])
    assert describe_user_code()["commit"] is None
    for words in (["init", "-q"], ["add", "experiment.py"], ["commit", "-q", "-m", "one"]):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.example", *words], check=True)
    tm.train(data=book, output_dir="run", quiet=True, **SETTINGS)
    said = json.loads(Path("run/environment.json").read_text())
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert (said["commit"], said["script"]) == (head, "experiment.py")
    assert said["script_sha256"] == hashlib.sha256(b"print('hello')\n").hexdigest()
    monkeypatch.setattr(sys, "argv", ["textmill"])
    assert describe_user_code()["script"] is None


def test_the_order_of_the_rows_has_its_own_seed(book: str) -> None:
    """Unset it is the seed; set, other seeds read the same rows; a resume with another one is refused."""

    def rows(**seeds: int) -> list[list[int]]:
        config = load_config({**SETTINGS, "data": [book], "output_dir": "rows", "overwrite": True, **seeds})
        with tm.assemble(config, quiet=True) as run:
            return [batch.tokens.tolist() for step in range(3) for batch in run.loader.batches(step)]

    assert rows(seed=1) == rows(seed=1, data_seed=1) != rows(seed=2)
    assert rows(seed=2, data_seed=1) == rows(seed=1)
    tm.train(data=book, output_dir="run", data_seed=1, quiet=True, **SETTINGS)
    with pytest.raises(ResumeError, match="data_seed"):
        tm.train(output_dir="run", resume=True, data_seed=2, max_steps=5, quiet=True)
