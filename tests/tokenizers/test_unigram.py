"""Unigram with byte fallback: lossless on every text, the same in parts, in transformers and in another process."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend

from support.awkward_texts import AWKWARD, EOS, PROSE, any_text, spaced_text
from textmill.errors import ConfigError, DataError
from textmill.tokenizers import Tokenizer, load_tokenizer, train_unigram
from textmill.tokenizers.split_long_text import pieces
from textmill.tokenizers.word_patterns import PATTERNS, pattern_of

KHMER = "មនុស្សទាំងអស់ កើតមកមានសេរីភាព និងសមភាព ក្នុងផ្នែកសេចក្ដីថ្លៃថ្នូរនិងសិទ្ធិ។\n"
NAMES = "<0x0A> <0x41><0xe1> <0x+A> <unk> </s> "
OWN = ".+|\n"
texts = (
    any_text | spaced_text | st.lists(st.sampled_from(["<0x0A>", "<0x", "0A>", EOS, " ", "a", "ម", "ុ"])).map("".join)
)


@pytest.fixture(scope="module", params=["gpt2", "gpt4o", OWN])
def made(request: pytest.FixtureRequest) -> Tokenizer:
    return train_unigram([PROSE, KHMER * 20, NAMES * 30], 500, pattern=request.param)


@settings(deadline=None, max_examples=200)
@given(text=texts)
def test_every_text_comes_back(made: Tokenizer, text: str) -> None:
    """Lone marks, unassigned code points, names of bytes: decoding gives the text, at once and token by token."""
    ids = made.encode(text)
    assert made.decode(ids) == text
    stream = made.stream()
    given_so_far = [stream.push(int(number)) for number in ids]
    assert "".join(given_so_far) + stream.flush() == text
    assert "\ufffd" in text or "\ufffd" not in "".join(given_so_far)


@settings(deadline=None, max_examples=200)
@given(text=texts)
def test_parts_have_the_ids_of_the_whole(made: Tokenizer, text: str) -> None:
    """Cut where the rule for long texts allows it, the ids are those of the library for all of it."""
    whole = Backend.from_str(made.content)
    whole.encode_special_tokens = True
    expected = whole.encode(text, add_special_tokens=False).ids
    assert made.encode(text).tolist() == expected
    assert made.exact_in_parts == (pattern_of(json.loads(made.content)) in PATTERNS)
    for size in (1, 4) if made.exact_in_parts else ():
        parts = [made.encode(part) for part in pieces(text, size)]
        assert np.concatenate([made.encode(""), *parts]).tolist() == expected


def test_awkward_texts_come_back(made: Tokenizer) -> None:
    """Control characters, emoji of several code points, runs of spaces, and every single byte's name."""
    for text in [*AWKWARD, NAMES, "".join(f"<0x{byte:02X}>" for byte in range(256)), "\U000e0fff\u0378\u0301"]:
        assert made.decode(made.encode(text)) == text
    with pytest.raises(DataError, match="lone surrogate"):
        made.encode("a\ud800")


def test_the_ids_are_the_most_probable_spelling() -> None:
    """Of all ways to spell a word by pieces, by enumeration, the one whose logarithms have the largest sum."""
    tokenizer = train_unigram(["the theme then them mother other " * 40], 320)
    scores = dict(json.loads(tokenizer.content)["model"]["vocab"])
    names = {token: token for token in scores}
    for word in ("the", " mother", " themother"):
        best = -math.inf
        for cuts in itertools.product([False, True], repeat=len(word) - 1):
            ends = [*(at + 1 for at, cut in enumerate(cuts) if cut), len(word)]
            spelled = [word[start:end] for start, end in zip([0, *ends], ends)]
            if all(piece in names for piece in spelled):
                best = max(best, sum(scores[piece] for piece in spelled))
        found = [tokenizer.token_text(int(number)) for number in tokenizer.encode(word)]
        assert "".join(found) == word
        assert sum(scores[piece] for piece in found) == pytest.approx(best)


def test_what_has_no_piece_is_spelled_by_its_bytes(made: Tokenizer) -> None:
    """The first 256 ids are the bytes, so nothing is unknown; bytes that are no character show as one."""
    ids = made.encode("\U0001f9ed").tolist()
    assert bytes(ids).decode("utf-8") == "\U0001f9ed"
    assert (made.unk_id, made.eos_id, made.kind) == (None, made.vocab_size - 1, "unigram")
    broken = [*ids, ids[0], *made.encode("a").tolist()]
    assert made.decode(broken) == "\U0001f9ed\ufffda"
    stream = made.stream()
    assert "".join(map(stream.push, broken)) + stream.flush() == made.decode(broken)
    assert [made.token_text(number) for number in (0xE2, made.vocab_size - 1)] == ["<E2>", EOS]


def test_no_text_gives_the_eos_id(made: Tokenizer) -> None:
    """Its name in a text is text, learned from or not."""
    assert made.eos_id not in made.encode(f"before {EOS} after{EOS}").tolist()


def test_transformers_gives_the_same_ids_and_text(made: Tokenizer, tmp_path: Path) -> None:
    """AutoTokenizer loads the saved folder; so does load_tokenizer, to the same fingerprint."""
    transformers = pytest.importorskip("transformers", reason="needs transformers, of the extra test")
    made.save_alone(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in [text for text in AWKWARD if EOS not in text] + [KHMER, NAMES]:
        ids = made.encode(text).tolist()
        assert theirs.encode(text, add_special_tokens=False) == ids
        assert theirs.decode(ids) == text
    again = load_tokenizer(tmp_path)
    assert (again.fingerprint, again.kind, again.eos_id) == (made.fingerprint, "unigram", made.eos_id)


def test_learning_is_the_same_in_another_process() -> None:
    """The library sums in an order of chance; what is kept does not show it."""
    script = f"from textmill.tokenizers import train_unigram; print(train_unigram([{PROSE!r}], 400).fingerprint)"
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == train_unigram([PROSE], 400).fingerprint


@pytest.mark.parametrize("text", ["", "a", "abcdefg", "ab ab", "\0\n" * 50, NAMES])
@pytest.mark.parametrize("pattern", ["gpt2", OWN])
def test_little_text_gives_few_pieces(text: str, pattern: str) -> None:
    """Down to none at all; it is never larger than asked for."""
    tokenizer = train_unigram([text], 300, pattern=pattern)
    assert 257 <= tokenizer.vocab_size <= 300
    assert tokenizer.decode(tokenizer.encode(PROSE)) == PROSE


def test_a_large_alphabet_leaves_room_for_pieces() -> None:
    """At most half of the pieces are characters: the most frequent ones; the others are spelled by their bytes."""
    text = "".join(chr(0x4E00 + number) * (3 + number % 7) for number in range(500)) + "人权宣言 " * 100
    tokenizer = train_unigram([text], 357)
    learned = [piece for piece, _ in json.loads(tokenizer.content)["model"]["vocab"][256:]]
    assert sum(len(piece) == 1 for piece in learned) <= 50 < len(learned)
    assert len(tokenizer.encode("人权宣言")) == 4 and tokenizer.encode("\u4e00").tolist() == [0xE4, 0xB8, 0x80]
    with pytest.raises(ConfigError, match="too small for Unigram"):
        train_unigram([text], 260)


def test_special_tokens_are_one_id_each() -> None:
    """A word that was named is one id wherever it stands, and nothing is learned from it."""
    tokenizer = train_unigram([PROSE + "<|user|>" * 100], 400, ["<|user|>"])
    ids = tokenizer.encode("It<|user|> was").tolist()
    assert ids.count(tokenizer.vocab_size - 1) == 1 and tokenizer.decode(ids) == "It<|user|> was"
