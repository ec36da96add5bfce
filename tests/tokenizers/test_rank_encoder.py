"""The fast encoder of BPE gives the backend's ids, or leaves the text to it."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from support.awkward_texts import AWKWARD
from textmill.tokenizers import Tokenizer, load_tokenizer, train_bpe
from textmill.tokenizers import tiktoken_encoder as ranks
from textmill.tokenizers.tiktoken_encoder import RankEncoder, rank_encoder
from textmill.tokenizers.word_patterns import GPT2, PATTERNS, pattern_of

pytest.importorskip("tiktoken", reason="needs tiktoken, of the extra data")


def backend(tokenizer: Tokenizer) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_str(tokenizer.content)


def encoder_of(tokenizer: Tokenizer) -> RankEncoder | None:
    described = json.loads(tokenizer.content)
    return rank_encoder(described, backend(tokenizer), PATTERNS[pattern_of(described) or ""])


def plain(tokenizer: Tokenizer, text: str) -> list[int]:
    return backend(tokenizer).encode(text, add_special_tokens=False).ids


@pytest.fixture(scope="module", params=list(PATTERNS))
def trained(request: pytest.FixtureRequest) -> Tokenizer:
    text = "the cat sat, on the mat's edge; It'S 1234 äöü 猫が座った। मनुष्यों \n\n  xY = 3.14\t# ok;\n"
    return train_bpe([text * 30, *AWKWARD * 3], 900, pattern=request.param)


@pytest.fixture(scope="module")
def encoder(trained: Tokenizer) -> RankEncoder:
    made = encoder_of(trained)
    assert made is not None
    return made


@settings(deadline=None, max_examples=200)
@given(text=st.text() | st.text("the cat's 12 \n\t\u00a0\u3000猫ä!٣²ⅷ", max_size=200))
def test_every_text_has_the_ids_of_the_backend(trained: Tokenizer, encoder: RankEncoder, text: str) -> None:
    """Any characters, white space of every kind, digits of every script."""
    ids = encoder.encode(text)
    assert ids is not None and ids.tolist() == plain(trained, text)


def test_published_vocabulary_and_real_text(shared: Path) -> None:
    """GPT-2's own vocabulary on a megabyte of articles and of plays: the ids of one plain call."""
    gpt2 = load_tokenizer(shared / "data/gpt2-tokenizer")
    made = encoder_of(gpt2)
    assert made is not None
    for name in ("wikitext2-valid.txt", "tinyshakespeare.txt"):
        text = (shared / "data" / name).read_text(encoding="utf-8")
        ids = made.encode(text)
        assert ids is not None and ids.tolist() == plain(gpt2, text)


@pytest.mark.slow
def test_every_code_point(encoder: RankEncoder, trained: Tokenizer) -> None:
    """Each of Unicode's million code points, between letters, digits and marks."""
    codes = [code for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    for start in range(0, len(codes), 1 << 16):
        text = "".join(f"a{chr(code)} 1{chr(code)}x !{chr(code)}" for code in codes[start : start + (1 << 16)])
        ids = encoder.encode(text)
        assert ids is not None and ids.tolist() == plain(trained, text)


def test_characters_of_another_kind_are_left_to_the_backend(encoder: RankEncoder, trained: Tokenizer) -> None:
    """Were an e with an accent no letter to one of the two libraries, texts with one would be left to the backend."""
    ranked = GPT2.ranked.replace(r"\p{L}++", r"[\p{L}--é]++").replace(r"[^\s\p{L}\p{N}]++", r"(?:[^\s\p{L}\p{N}]|é)++")
    words = replace(GPT2, ranked=ranked)
    odd = RankEncoder(json.loads(trained.content), backend(trained), words)
    assert odd.encode("no such letter here, ö at most") is not None
    assert odd.encode("café") is None
    assert encoder.encode("café") is not None


def test_words_that_take_too_long_are_left_to_the_backend(encoder: RankEncoder, trained: Tokenizer) -> None:
    """A stretch of 100,000 characters without a space is not given to the fast encoder, and is encoded all the same."""
    text = "a" * 100_000
    assert encoder.encode(text) is None
    assert trained.encode_batch([text, "the cat " * 20_000])[0].tolist() == plain(trained, text)


def test_merges_that_are_no_ranks_are_left_to_the_backend(trained: Tokenizer) -> None:
    """A vocabulary in which ranks would merge what no pair merges: the first text tells, and the backend encodes."""
    described = json.loads(trained.content)
    vocabulary = {**{character: number for number, character in enumerate(ranks.CHARACTER_OF_BYTE.values())}}
    merges = [["b", "c"], ["a", "b"], ["ab", "c"]]  # (a, bc) is no pair of it, and its rank is that of abc
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    described["model"] |= {"vocab": vocabulary, "merges": merges}
    described["added_tokens"] = []
    odd = Tokenizer(json.dumps(described))
    made = encoder_of(odd)
    assert made is not None and made.encode("abc abc") is None
    text = "abc " * 30_000
    assert odd.encode(text).tolist() == plain(odd, text)
    for option in ({"dropout": 0.1}, {"unk_token": "a"}, {"ignore_merges": True}):
        assert rank_encoder({**described, "model": described["model"] | option}, backend(odd)) is None


def test_without_the_package_everything_is_the_same(
    trained: Tokenizer, encoder: RankEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tiktoken is faster and nothing else."""
    text = "the cat sat on 12 mats\n" * 5000
    fast = Tokenizer(trained.content).encode(text)
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    assert np.array_equal(Tokenizer(trained.content).encode(text), fast)
    assert encoder.encode(text).tolist() == fast.tolist()  # type: ignore[union-attr]
