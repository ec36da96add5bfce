"""Texts that have broken tokenizers before."""

from __future__ import annotations

from hypothesis import strategies as st

EOS = "<|endoftext|>"

AWKWARD = [
    "",
    " ",
    "\n",
    "a",
    "  two  spaces\t\ttabs \n\n\n lines\r\n windows \r old mac",
    "don't I'll WE'VE foo_bar CamelCase 12345 1e-4",
    f"before {EOS} after{EOS}",
    "<unk> <pad> </s> [MASK]",
    "café naïve Straße ﬁ İ",
    "日本語 中文 한국어 עברית العربية हिन्दी",
    "😀 👩‍👩‍👧‍👦 🏳️‍🌈 é",
    "\x00\x01\x1c\x1f\x7f\x85\xa0\u2028\u2029\u200b\ufeff",
    "!\x1c \x1f\n\xa0 x\xa0\n y\u3000\n z",
    "\U0001f600" * 5 + "\U0010ffff\uffff",
    "def f(x):\n    return {'a': x[0]}  # ok\n\n\n\nclass A: ...\n",
]

PROSE = "It was the best of times, it was the worst of times.\n" * 20 + "".join(AWKWARD)

any_text = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=60)
"""Every text that UTF-8 can spell."""

spaced_text = st.lists(
    st.sampled_from(
        [" ", "  ", "\n", "\t", "\r\n", "\xa0", "\x1c", "\u2003", "a", "Bc", "'s", "12", "!?", "é", "語", "😀"]
    ),
    max_size=60,
).map("".join)
"""Texts in which words, signs and every sort of white space meet."""
