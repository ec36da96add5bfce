"""What a run shows and offers a person: an early sample, a prompt that works, what mixed precision does here."""

from __future__ import annotations

import random
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import textmill as tm
from textmill.cli.main import main
from textmill.machine.precision import choose_precision
from textmill.runs import layout
from textmill.training.evaluate_and_sample import first_words

ENGLISH = "the quick brown foxes jumped over the lazy gods and went home again. " * 60
TEXTS = {
    "English": ENGLISH,
    "Chinese": "天地玄黃宇宙洪荒。日月盈昃，辰宿列張。" * 200,
    "numbers": "12 34 56 78 90\n" * 300,
    "one word": "".join(random.Random(0).choices("abcdefgh", k=8000)),
}
TINY = "--d-model 16 --num-layers 1 --num-heads 2 --max-seq-len 16 --batch-size 4 --device cpu --threads 1"


def lines_of(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], *flags: str, steps: int = 20) -> list[str]:
    """Return what a small run on `text` prints."""
    book = tmp_path / "book.txt"
    book.write_text(text, encoding="utf-8")
    words = ["train", str(book), *TINY.split(), "--max-steps", str(steps), "--output-dir", str(tmp_path / "run")]
    assert main([*words, "--cache-dir", str(tmp_path / "cache"), *flags]) == 0
    return capsys.readouterr().out.splitlines()


def offered(lines: list[str]) -> list[str]:
    """Return the words of the command that is offered for a try."""
    (line,) = [line for line in lines if line.startswith("try it")]
    return shlex.split(line.removeprefix("try it"))[1:]


@pytest.mark.parametrize("tokenizer", ["char", "byte", "bpe", "unigram"])
@pytest.mark.parametrize("text", TEXTS)
def test_the_prompt_to_try_works(text: str, tokenizer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is whole words of the text, which the tokenizer knows, or nothing; the command succeeds as it stands."""
    words = offered(lines_of(TEXTS[text], tmp_path, capsys, "--tokenizer", tokenizer, "--sample-steps", "0"))
    prompt = words[words.index("--prompt") + 1] if "--prompt" in words else ""
    assert prompt in TEXTS[text] and bool(prompt) == (text != "numbers")
    if text == "English":
        assert set(prompt.split()) <= set(ENGLISH.replace(".", "").split())
    assert main([*words, "--max-new-tokens", "3", *([] if prompt else ["--prompt", ""])]) == 0
    assert not capsys.readouterr().err.count("unknown")


def test_a_prompt_of_ones_own_is_offered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the samples continue is what a person wants to see continued."""
    lines = lines_of(ENGLISH, tmp_path, capsys, "--sample-prompt", "lazy gods' home", "--tokenizer", "byte")
    assert offered(lines)[-1] == "lazy gods' home"


def test_the_first_sample_comes_early(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After a twentieth of the run, however rarely it evaluates; every sample says its step."""
    lines = lines_of(ENGLISH, tmp_path, capsys, "--tokenizer", "char", "--val-split", "0.5", steps=60)
    shown = [int(line.split()[-1].rstrip(":")) for line in lines if line.startswith("  sample at step ")]
    assert shown[0] == 3 and shown[-1] == 60


class Bigrams(nn.Module):
    """A model of one's own: the next token by the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Embedding(257, 257)

    def forward(self, ids: Tensor) -> Tensor:
        return self.scores(ids)


def test_what_generate_cannot_load_is_not_offered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`textmill generate` knows no model of one's own, so nothing is offered that would fail."""
    (tmp_path / "book.txt").write_text(ENGLISH)
    settings: dict[str, Any] = {"tokenizer": "byte", "max_seq_len": 16, "batch_size": 4, "max_steps": 2}
    tm.train(
        data=str(tmp_path / "book.txt"), model=Bigrams(), output_dir=str(tmp_path / "run"), device="cpu", **settings
    )
    printed = (tmp_path / "run" / layout.TRAIN_LOG).read_text()
    assert "ended" in printed and "try it" not in printed


def test_mixed_precision_says_what_it_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where half precision is not faster, a person who asked for it is told that it trains in fp32."""
    slow = choose_precision("auto", torch.device("cpu")).name == "fp32"
    lines = lines_of(ENGLISH, tmp_path, capsys, "--mixed-precision", "--tokenizer", "byte", steps=1)
    told = [line for line in lines if "--mixed-precision has no effect" in line]
    assert len(told) == slow and all("trains in fp32" in line for line in told)
    lines = lines_of(ENGLISH, tmp_path, capsys, "--overwrite", "--tokenizer", "byte", steps=1)
    assert not any("has no effect: half" in line for line in lines)


class _Store:
    """Held-out ids, as bytes."""

    def __init__(self, text: str) -> None:
        self.ids, self.num_tokens = list(text.encode()), len(text.encode())

    def read(self, start: int, stop: int) -> list[int]:
        return self.ids[start:stop]


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("ods were angry, and nobody knew what to do", "were angry, and nobody knew what"),
        ("Gods were angry", "Gods were angry"),
        ("x" * 50, "x" * 32),
        ("    def f(x):\n        return x", "    def f(x):\n        return x"),
        ("天" * 30, "天" * 21),
        ("a", "a"),
    ],
)
def test_samples_begin_and_end_with_whole_words(text: str, prompt: str) -> None:
    """The held-out part of a single text may begin inside a word, which no sample should."""
    from types import SimpleNamespace

    from textmill.tokenizers import make_byte

    corpus: Any = SimpleNamespace(tokenizer=make_byte(), validation=_Store(text), train=None)
    assert first_words(None, corpus) == prompt
    assert first_words("own", corpus) == "own"
