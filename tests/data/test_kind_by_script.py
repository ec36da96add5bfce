"""Which kind of tokenizer a text gets where nobody chose one, in every verb that learns one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from textmill.cli.main import main
from textmill.config import Config, load_config
from textmill.data.preparing.kind_by_script import settle_kind, share_without_spaces
from textmill.tokenizers import load_tokenizer

TEXTS = Path(__file__).parents[2] / "benchmarks" / "texts"
WITHOUT_SPACES = {"tha", "khm", "mya"}


def kind_of(data: Any, **settings: Any) -> str:
    """The kind after it was settled; it is said exactly if it is another than before."""
    config, said = load_config(data=data, **settings), list[str]()
    before = config.tokenizer.tokenizer
    settle_kind(config, said.append)
    assert len(said) == (config.tokenizer.tokenizer != before)
    return config.tokenizer.tokenizer


@pytest.mark.parametrize("path", sorted(TEXTS.glob("*.txt")), ids=lambda path: path.stem)
def test_the_script_decides(path: Path) -> None:
    """Unigram for Thai, Khmer and Burmese; BPE for the other languages, Chinese, Japanese and Tibetan too."""
    assert kind_of(str(path)) == ("unigram" if path.stem in WITHOUT_SPACES else "bpe")


def test_shares_count_what_can_be_seen() -> None:
    """Letters and marks of the four scripts, of all characters that are no white space."""
    assert share_without_spaces("ข้าว ab\n cd") == 4 / 8
    assert share_without_spaces("ລາວ ខ្មែរ မြန်မာ") == 1.0
    assert share_without_spaces("") == share_without_spaces(" \u3000") == share_without_spaces("漢字 བོད") == 0.0


def test_what_somebody_chose_stays(tmp_path: Path) -> None:
    """A tokenizer that was named, a vocabulary too small for Unigram, ids, and text that cannot be read."""
    thai = str(TEXTS / "tha.txt")
    assert kind_of(thai, tokenizer="bpe") == "bpe"
    assert kind_of(thai, tokenizer="char") == "char"
    assert kind_of(thai, vocab_size=300) == "bpe"
    assert kind_of(thai, vocab_size=600) == "unigram"
    np.save(tmp_path / "ids.npy", np.arange(99, dtype=np.uint16))
    assert kind_of(str(tmp_path / "ids.npy")) == "bpe"
    (tmp_path / "broken.txt").write_bytes("ข้าว".encode() * 99 + b"\xff")
    assert kind_of([str(tmp_path / "broken.txt"), str(tmp_path / "missing.txt")]) == "bpe"


def test_most_of_a_mixture_decides() -> None:
    """By weight, or without weights by size."""
    thai, english = str(TEXTS / "tha.txt"), str(TEXTS / "eng.txt")
    assert kind_of([thai, english]) == "unigram"
    assert kind_of([f"{thai}=0.9", f"{english}=0.1"]) == "unigram"
    assert kind_of([f"{thai}=0.3", f"{english}=0.7"]) == "bpe"


VERBS: list[Callable[[str, Path], list[str]]] = [
    lambda text, out: ["prepare", text, "--output", str(out / "made")],
    lambda text, out: ["tokenizer", "train", text, "--output", str(out / "made")],
    lambda text, out: ["config", "show", text],
    lambda text, out: ["plan", text],
]


@pytest.mark.parametrize("words", VERBS, ids=["prepare", "tokenizer train", "config show", "plan"])
def test_every_verb_says_which(
    words: Callable[[str, Path], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """One line, and the tokenizer that is made is of that kind."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    text = tmp_path / "thai.txt"
    text.write_text((TEXTS / "tha.txt").read_text(encoding="utf-8")[:1500], encoding="utf-8")
    assert main(words(str(text), tmp_path)) == 0
    assert capsys.readouterr().err.count("tokenizer: unigram, because the text puts no spaces between words") == 1
    for made in tmp_path.glob("made/**/tokenizer.json"):
        assert load_tokenizer(made.parent).kind == "unigram"


def test_a_run_keeps_its_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is written into config.yaml; a resumed run and one with that configuration have the same tokenizer."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    text, run, again = tmp_path / "thai.txt", tmp_path / "run", tmp_path / "again"
    text.write_text((TEXTS / "tha.txt").read_text(encoding="utf-8")[:1500], encoding="utf-8")
    shape = ["--d-model", "16", "--num-layers", "1", "--num-heads", "2", "--max-seq-len", "32", "--batch-size", "2"]
    words = ["train", str(text), *shape, "--max-steps", "1", "--output-dir", str(run)]
    assert main(words) == 0
    assert main(["train", "--output-dir", str(run), "--resume", "--max-steps", "2"]) == 0
    assert json.loads((run / "status.json").read_text())["step"] == 2
    assert main(["train", "--config", str(run / "config.yaml"), "--output-dir", str(again)]) == 0
    kinds = [load_tokenizer(folder / "final").fingerprint for folder in (run, again)]
    assert kinds[0] == kinds[1] and load_tokenizer(run / "final").kind == "unigram"
    assert isinstance(settings := load_config(run / "config.yaml"), Config)
    assert settings.tokenizer.tokenizer == "unigram"
