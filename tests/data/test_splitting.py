"""Which text validates: nanoGPT's tail for few documents, a hash of the content for many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textmill.data.preparing.split import (
    DEFAULT_SHARE,
    TRAIN,
    VALIDATION,
    Fragment,
    divide,
    everything,
    plan_split,
    survey,
    whole_documents,
)
from textmill.data.reading.document import Document
from textmill.errors import DataError


def documents(texts: Sequence[str], part: int = 3) -> list[Document]:
    """Every text in parts of `part` characters."""
    found = []
    for number, text in enumerate(texts):
        parts = [text[at : at + part] for at in range(0, len(text), part)] or [""]
        found += [Document(p, str(number), index < len(parts) - 1) for index, p in enumerate(parts)]
    return found


def sides(texts: Sequence[str], share: float, min_length: int = 0) -> tuple[str, str]:
    given_texts = documents(texts)
    split = plan_split(survey(given_texts, min_length), share, lambda sentence: None)
    joined = {TRAIN: "", VALIDATION: ""}
    for fragment in divide(given_texts, split):
        joined[fragment.side] += fragment.text
    return joined[TRAIN], joined[VALIDATION]


@settings(deadline=None)
@given(
    st.lists(st.text("ab \n", min_size=2, max_size=30).filter(str.strip), min_size=1, max_size=19), st.integers(2, 5)
)
def test_few_documents_are_cut_as_nanogpt_cuts(texts: list[str], tenths: int) -> None:
    """The training text is data[:int(n * share)], the validation text is the rest."""
    whole = "".join(texts)
    n = int(len(whole) * (1 - tenths / 10))
    if not 2 <= n <= len(whole) - 2:
        with pytest.raises(DataError, match="too few for a validation share"):
            sides(texts, tenths / 10)
        return
    assert sides(texts, tenths / 10) == (whole[:n], whole[n:])


def test_the_usual_share_is_enlarged_for_tiny_texts_and_said() -> None:
    """A text of ten characters validates on two instead of one; three characters are too few."""
    assert sides(["0123456789"], DEFAULT_SHARE) == ("01234567", "89")
    said: list[str] = []
    plan_split(survey(documents(["0123456789"])), DEFAULT_SHARE, said.append)
    assert said and "last 2" in said[0]
    with pytest.raises(DataError, match="--val-split"):
        sides(["abc"], DEFAULT_SHARE)


def test_many_documents_keep_their_side() -> None:
    """Copies share a side, order does not matter, and adding documents moves none."""
    texts = [f"document number {number}" for number in range(400)]
    found = survey(documents(texts * 2))
    split = plan_split(found, 0.1, print)
    assert split.validates is not None
    assert (split.validates[:400] == split.validates[400:]).all()
    assert 20 < split.validates[:400].sum() < 60
    fewer = plan_split(survey(documents(texts[:100])), 0.1, print)
    assert fewer.validates is not None and (fewer.validates == split.validates[:100]).all()
    backwards = plan_split(survey(documents(texts[::-1], part=7)), 0.1, print)
    assert backwards.validates is not None and (backwards.validates[::-1] == split.validates[:400]).all()


@pytest.mark.parametrize("share", [1e-9, 0.05, 0.5, 0.999999999])
def test_both_sides_have_a_document(share: float) -> None:
    """However small the corpus or the share, neither side is empty."""
    train, validation = sides([f"text {number}" for number in range(25)], share)
    assert train and validation


def test_copies_alone_cannot_be_split() -> None:
    """Thirty times the same text: no honest validation text exists, and the error says what to do."""
    with pytest.raises(DataError, match=r"the same text.*--val-data"):
        sides(["same"] * 30, 0.1)


def test_blank_and_short_documents_go_nowhere() -> None:
    """White space alone is no document, and min_length counts characters of the whole document."""
    texts = ["  \n ", "", "short", "long enough", "\t"]
    assert "".join(sides(texts, 0.3, min_length=6)) == "long enough"
    assert survey(documents(texts), 6).kept.tolist() == [False, False, False, True, False]


def test_nothing_validates_when_told_so() -> None:
    """A share of 0 trains on everything."""
    assert sides(["abc", "def"], 0) == ("abcdef", "")
    found = survey(documents(["ab", "cd"]))
    assert {f.side for f in divide(documents(["ab", "cd"]), everything(VALIDATION, found))} == {VALIDATION}


def test_document_ends_stay_where_they_are() -> None:
    """A document that is cut ends on the validation side only."""
    given_texts = documents(["aaaa", "bbbbbb"], part=4)
    split = plan_split(survey(given_texts), 0.3, print)
    assert [(f.side, f.text, f.ends) for f in divide(given_texts, split)] == [
        (TRAIN, "aaaa", True),
        (TRAIN, "bbb", False),
        (VALIDATION, "b", False),
        (VALIDATION, "bb", True),
    ]


def test_the_hash_is_a_frozen_choice() -> None:
    """The side of a document never changes from version to version."""
    keys = survey(documents(["textmill", "one\ntwo"])).keys
    assert keys.dtype == np.uint64
    assert keys.tolist() == [16047960961526350170, 13494272852326515612]


def test_joined_documents_keep_what_is_known_of_them() -> None:
    """Parts of either side are joined, with their corpus; a document may end on the other side than it began."""
    parts = [
        Fragment(TRAIN, "a", True, 0),
        Fragment(TRAIN, "b", False, 1),
        Fragment(TRAIN, "c", False, 1),
        Fragment(VALIDATION, "d", False, 1),
        Fragment(VALIDATION, "e", True, 1),
    ]
    assert list(whole_documents(parts)) == [
        Fragment(TRAIN, "a", True, 0),
        Fragment(VALIDATION, "de", True, 1),
        Fragment(TRAIN, "bc", False, 1),
    ]
