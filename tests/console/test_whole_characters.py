"""Words and cuts of text in scripts whose letters carry marks."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textmill.console.whole_characters import cut, phrases


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, wide world of words!", ["Hello", "wide world of", "words"]),
        ("7 मनुष्यों को, गौरव", ["मनुष्यों को", "गौरव"]),  # vowel signs and virama
        ("سیب می\u200cخواهم.", ["سیب می\u200cخواهم"]),  # the joiner is inside a word
        ("Ọ̀kan lára", ["Ọ̀kan lára"]),
        ("a b c 12 _ --", []),
    ],
)
def test_words_of_any_script_are_whole(text: str, expected: list[str]) -> None:
    """Up to three words, the first of two letters at least, with their marks."""
    assert phrases(text, 40) == expected


def test_long_words_are_cut_between_characters() -> None:
    """Khmer writes a sentence without spaces; the vowel sign after the fourth letter is not cut off."""
    assert phrases("មនុស្សទាំងអស់កើតមក", 4) == ["មនុ"]
    assert cut("e\u0301e\u0301", 3) == "e\u0301"
    assert cut("👩\u200d🚀!", 2) == ""
    assert cut("abc", 5) == "abc"


@given(st.text(), st.integers(0, 20))
def test_a_cut_is_a_beginning_without_half_a_character(text: str, most: int) -> None:
    """It is no longer than asked for, and what follows it is no mark, unless nothing is left of it."""
    beginning = cut(text, most)
    assert text.startswith(beginning) and len(beginning) <= most
    rest = text[len(beginning) :]
    assert not beginning or not rest or not unicodedata.category(rest[0]).startswith("M")
