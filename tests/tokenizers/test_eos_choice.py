"""Which token follows every document: the declared one, one that is named, or none, which is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from textmill.data import prepare
from textmill.errors import ConfigError
from textmill.tokenizers import load_tokenizer, make_byte, train_bpe


@pytest.fixture
def undeclared(tmp_path: Path) -> Path:
    """A byte-level BPE tokenizer whose end token has a name that nobody declares."""
    made = train_bpe(["a few words of a story"] * 3, 270)
    backend = Backend.from_str(made.content.replace("<|endoftext|>", "<|fin|>"))
    backend.add_special_tokens([AddedToken("<|turn|>", special=True, normalized=False)])
    (tmp_path / "tok").mkdir()
    (tmp_path / "tok" / "tokenizer.json").write_text(backend.to_str())
    return tmp_path / "tok"


@pytest.fixture
def stories(tmp_path: Path) -> Path:
    path = tmp_path / "stories.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in ("a story", "few words")))
    return path


def test_no_eos_token_is_said(tmp_path: Path, undeclared: Path, stories: Path) -> None:
    """Documents that nothing separates are reported, with the flag and the special tokens; from the cache too."""
    for _ in range(2):
        said: list[str] = []
        corpus = prepare(stories, tokenizer=undeclared, val_split=0, cache_dir=tmp_path / "cache", say=said.append)
        assert corpus.train.eos_id is None
        (sentence,) = [sentence for sentence in said if "EOS" in sentence]
        assert sentence == (
            "nothing marks where a document ends: the tokenizer declares no EOS token; --eos-token names one "
            "(its special tokens are '<|fin|>', '<|turn|>')"
        )


def test_an_eos_token_can_be_named(tmp_path: Path, undeclared: Path, stories: Path) -> None:
    """It follows every document, stays with the prepared corpus, and makes another corpus of the same text."""
    plain = prepare(stories, tokenizer=undeclared, val_split=0, cache_dir=tmp_path / "cache")
    said: list[str] = []
    corpus = prepare(
        stories, tokenizer=undeclared, eos_token="<|fin|>", val_split=0, cache_dir=tmp_path / "cache", say=said.append
    )
    assert corpus.key != plain.key and not said
    loaded = load_tokenizer(corpus.folder / "tokenizer")
    assert loaded.eos_id is not None and loaded.roles["eos_token"] == "<|fin|>"
    assert loaded.fingerprint == load_tokenizer(undeclared).fingerprint
    ids = corpus.train.read(0, len(corpus.train)).tolist()
    assert ids.count(loaded.eos_id) == 2 and ids[-1] == loaded.eos_id
    assert [number for number in ids if number != loaded.eos_id] == plain.train.read(0, len(plain.train)).tolist()


def test_new_tokenizers_take_another_end(tmp_path: Path, stories: Path) -> None:
    """A special token of one's own ends documents in place of <|endoftext|>, for bytes, characters and BPE."""
    for kind in ("byte", "char", "bpe"):
        corpus = prepare(
            stories, tokenizer=kind, special_tokens=["<|fin|>"], eos_token="<|fin|>", val_split=0, cache_dir=tmp_path
        )
        assert corpus.tokenizer is not None
        assert corpus.train.eos_id == corpus.tokenizer.eos_id == corpus.tokenizer.vocab_size - 1
        assert corpus.train.read(len(corpus.train) - 1, 1).tolist() == [corpus.tokenizer.eos_id]


def test_what_is_no_token_is_refused(tmp_path: Path, undeclared: Path, stories: Path) -> None:
    """The tokens that could be meant are listed; <|endoftext|> as a special token points to the document separator."""
    with pytest.raises(ConfigError, match=r"eos_token is '</s>', which is no token .*: its special tokens are '<\|fin"):
        prepare(stories, tokenizer=undeclared, eos_token="</s>", cache_dir=tmp_path / "cache")
    for make in (lambda: make_byte(["<|endoftext|>"]), lambda: train_bpe(["text"], 300, ["<|endoftext|>"])):
        with pytest.raises(ConfigError, match=r"follows every document.*--document-separator '<\|endoftext\|>'"):
            make()
