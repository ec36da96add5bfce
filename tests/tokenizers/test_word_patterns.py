"""How text is cut into words before BPE."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend

from support.awkward_texts import AWKWARD
from textmill.data.preparing.learning_text import LearningText
from textmill.data.preparing.tokenizer_choice import TokenizerChoice, suitable_pattern
from textmill.errors import ConfigError
from textmill.tokenizers import Tokenizer, train_bpe
from textmill.tokenizers.split_long_text import last_cut, pieces
from textmill.tokenizers.word_patterns import PATTERNS, pattern_of

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
    """Vowel signs, accents of their own, and the word space of Ethiopic; all texts come back."""
    found, texts = suitable_pattern(iter([text] * 3))
    assert found == pattern
    assert list(texts) == [text] * 3
    said: list[str] = []
    choice = TokenizerChoice("bpe", 300, [], for_ids=False)
    if text:
        made = choice.make(LearningText(iter([(0, text)] * 3), 3 * len(text)), said.append)
        assert pattern_of(json.loads(made.content)) == pattern
        assert any("gpt4o" in sentence for sentence in said) == (pattern == "gpt4o")


def test_a_pattern_that_has_no_effect_is_refused() -> None:
    """Characters are not cut into words, and a tokenizer that exists has its own pattern."""
    with pytest.raises(ConfigError, match="split_pattern has no effect"):
        TokenizerChoice("char", None, [], for_ids=False, split_pattern="gpt2")
    given = TokenizerChoice("bpe", 300, [], for_ids=False, split_pattern="gpt4o")
    assert given.identity != TokenizerChoice("bpe", 300, [], for_ids=False).identity
