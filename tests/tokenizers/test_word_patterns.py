"""How text is cut into words before BPE."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend

from support.awkward_texts import AWKWARD
from textmill.data.preparing.learning_text import LearningText, share_of_marks
from textmill.data.preparing.tokenizer_choice import TokenizerChoice, suitable_pattern
from textmill.errors import ConfigError
from textmill.tokenizers import Tokenizer, train_bpe
from textmill.tokenizers.split_long_text import last_cut, pieces
from textmill.tokenizers.word_patterns import LONGEST_WORD, PATTERNS, cut_long_words, pattern_of, pre_tokenizer

TEXT = "the cat's 12345 mats; It'S\r\n\n  x/y = (3.14)!\n\tមនុស្ស मनुष्यों 猫が座った。\nnext"
tricky = st.text(" \n\r\t/'s'Sa1!.;\u0301\u3000猫។", max_size=30) | st.text(max_size=30)


@pytest.fixture(scope="module", params=[*PATTERNS, r"\p{L}+|\P{L}"])
def made(request: pytest.FixtureRequest) -> tuple[str, Tokenizer]:
    return request.param, train_bpe([TEXT * 20, *AWKWARD * 3], 600, pattern=request.param)


def test_the_pattern_is_found_in_what_is_saved(made: tuple[str, Tokenizer]) -> None:
    """By its name, or as it was given; where a normalizer changes more than the normal form, it is not that alone."""
    pattern, tokenizer = made
    described = json.loads(tokenizer.content)
    assert pattern_of(described) == pattern
    assert pattern_of({**described, "normalizer": {"type": "NFC"}}) == pattern
    assert pattern_of({**described, "normalizer": {"type": "Lowercase"}}) is None
    assert tokenizer.exact_in_parts == (pattern in PATTERNS)
    assert tokenizer.kind == "bpe"


@settings(deadline=None, max_examples=300)
@given(text=tricky)
def test_every_text_comes_back_and_parts_have_the_ids_of_the_whole(made: tuple[str, Tokenizer], text: str) -> None:
    """Decoding gives the text; cut anywhere that the rule allows, the ids are the same."""
    _, tokenizer = made
    whole = Backend.from_str(tokenizer.content)
    whole.encode_special_tokens = True
    expected = whole.encode(text, add_special_tokens=False).ids
    assert tokenizer.decode(expected) == text
    assert tokenizer.encode(text).tolist() == expected
    if tokenizer.exact_in_parts:
        for size in (1, 4):
            parts = list(pieces(text, size))
            assert "".join(parts) == text
            assert np.concatenate([tokenizer.encode(""), *map(tokenizer.encode, parts)]).tolist() == expected
        cut = last_cut(text)
        assert [*tokenizer.encode(text[:cut]), *tokenizer.encode(text[cut:])] == expected


def test_transformers_reads_the_pattern(made: tuple[str, Tokenizer], tmp_path) -> None:
    """The saved folder gives the same ids there."""
    transformers = pytest.importorskip("transformers", reason="needs transformers, of the extra test")
    _, tokenizer = made
    tokenizer.save_alone(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs.encode(TEXT, add_special_tokens=False) == tokenizer.encode(TEXT).tolist()


def test_marks_do_not_end_a_word_of_gpt4o() -> None:
    """A word of Khmer with vowel signs becomes one token, which GPT-2's pattern cannot learn."""
    word = "មនុស្ស"
    assert len(train_bpe([f"{word} " * 50], 400, pattern="gpt4o").encode(word)) == 1
    assert len(train_bpe([f"{word} " * 50], 400, pattern="gpt2").encode(word)) >= 3


def many_letters(number: int) -> str:
    """Text of one word: letters of Chinese, the earlier ones more often."""
    return "".join(chr(0x4E00 + int(index**2 * 0.37) % 11 * int(index * 0.71) % 83) for index in range(number))


@pytest.mark.parametrize("pattern", [*PATTERNS, r"\p{L}+|\P{L}"])
def test_words_to_learn_from_are_not_long(pattern: str) -> None:
    """Merging takes time with the square of a word's length: text without a break is cut, and nothing is lost."""
    long, digits = many_letters(3 * LONGEST_WORD + 100), "7" * (LONGEST_WORD + 1)
    texts = [TEXT * 50, f"a {long}, {digits}. b", "", long, f"{long[: LONGEST_WORD - 1]}。" * 3]
    found = list(cut_long_words(texts, pattern))
    assert "".join(found) == "".join(texts)
    words = [
        word
        for text in found
        for _, (start, end) in pre_tokenizer(pattern).pre_tokenize_str(text)
        if (word := text[start:end])
    ]
    assert max(len(word.strip()) for word in words) == LONGEST_WORD
    assert found[0] == texts[0] and found[-1] == texts[-1]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_long_word_is_encoded_whole(pattern: str) -> None:
    """Only learning cuts: the ids of a long word are those of the library for all of it, and its text comes back."""
    text = many_letters(30_000)
    tokenizer = train_bpe([text], 700, pattern=pattern)
    ids = tokenizer.encode(text)
    assert tokenizer.vocab_size == 700 and len(ids) < len(text)
    assert ids.tolist() == Backend.from_str(tokenizer.content).encode(text, add_special_tokens=False).ids
    assert tokenizer.encode_batch([text * 3])[0].tolist() == tokenizer._encode_in_parallel([text * 3], 1)[0].tolist()
    assert tokenizer.decode(ids) == text


def test_no_pattern_is_refused() -> None:
    """An expression with an open bracket is no pattern."""
    with pytest.raises(ConfigError, match="split_pattern must be gpt2 or gpt4o or a regular expression"):
        train_bpe(["text"], 300, pattern="[a")


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("Plain English, naïve and 12 façades.\n", "gpt2"),
        ("日本語の文章は空白がない。", "gpt2"),
        ("मनुष्यों को गौरव और अधिकारों के मामले में", "gpt4o"),
        ("e\u0301te\u0301 comme hiver", "gpt4o"),
        ("ሰው፡ሁሉ፡ነጻ፡", "gpt4o"),
        ("", "gpt2"),
    ],
)
def test_the_pattern_follows_the_marks(text: str, pattern: str) -> None:
    """Vowel signs, accents of their own, and the word space of Ethiopic."""
    marks = share_of_marks(text * 3)
    assert suitable_pattern(marks) == pattern
    said: list[str] = []
    choice = TokenizerChoice("bpe", 300, [], for_ids=False)
    if text:
        made = choice.make(LearningText(iter([(0, text)] * 3), 3 * len(text), lambda form: marks), said.append)
        assert pattern_of(json.loads(made.content)) == pattern
        assert any("gpt4o" in sentence for sentence in said) == (pattern == "gpt4o")


def test_a_pattern_that_has_no_effect_is_refused() -> None:
    """Characters are not cut into words, and a tokenizer that exists has its own pattern."""
    with pytest.raises(ConfigError, match="split_pattern has no effect"):
        TokenizerChoice("char", None, [], for_ids=False, split_pattern="gpt2")
    given = TokenizerChoice("bpe", 300, [], for_ids=False, split_pattern="gpt4o")
    assert given.identity != TokenizerChoice("bpe", 300, [], for_ids=False).identity
