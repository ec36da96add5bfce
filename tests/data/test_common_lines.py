"""Documents are not alike because of what many documents have at their beginning and end."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textmill.data import prepare
from textmill.data.preparing.clean import Cleaning
from textmill.data.preparing.common_lines import MANY, CommonLines, OwnText
from textmill.data.reading.document import Document

HEADER = [f"# You may use this file under the terms of licence number {number}" for number in range(12)]
FOOTER = ["", "# end of file", "# vim: set et"]


def counted(texts: list[str]) -> CommonLines:
    common = CommonLines(sum(map(len, texts)))
    common.count(Document(text, str(number)) for number, text in enumerate(texts))
    return common


def own(common: CommonLines, parts: list[str]) -> str:
    text = OwnText(common)
    return "".join(map(text.add, parts)) + text.finish()


COMMON = counted(["\n".join([*HEADER, f"body {number}", *FOOTER]) for number in range(MANY)])


@given(
    st.lists(st.text("ab \n", max_size=12), min_size=1, max_size=6),
    st.lists(st.integers(0, 800), max_size=4),
    st.integers(0, len(HEADER)),
)
def test_the_ends_are_set_aside_however_the_text_is_cut(body: list[str], cuts: list[int], lines: int) -> None:
    """Whatever the parts, what stays is the text from its first to its last line that is not in many documents."""
    inside = "\n".join(["own line", *body, HEADER[0], "another own line"])
    text = "\n".join([*HEADER[:lines], inside, *FOOTER])
    at = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    assert own(COMMON, [text[start:end] for start, end in pairwise(at)]) == inside + "\n"


def test_lines_of_few_documents_are_not_common() -> None:
    """One document fewer than MANY is not enough, however often each has the line; a text of common lines stays."""
    few = counted(["the same line\n" * 5] * (MANY - 1))
    assert not few.common("the same line")
    few.count([Document("  the same line  \n", "one more")])
    assert few.common("the same line")
    assert own(few, ["the same line\n", "the same line"]) == "the same line\nthe same line"


def test_a_shared_header_loses_no_document(tmp_path: Path) -> None:
    """Of 100 short files under one licence none is a near-copy; ten copies are, under that header or another."""
    pytest.importorskip("rensa", reason="needs rensa, of the extra data")
    draw = random.Random(2)
    bodies = [" ".join(f"word{draw.randrange(4000)}" for _ in range(40)) for _ in range(100)]
    header = "\n".join(HEADER)
    for number, body in enumerate(bodies):
        (tmp_path / f"{number:03}.py").write_text(f"{header}\n\n{body}\n")
    for number, body in enumerate(bodies[:10]):
        changed = " ".join([*body.split()[:-1], "changed"])
        (tmp_path / f"copy{number}.py").write_text(f"{header if number % 2 else '# licence of mine'}\n\n{changed}\n")
    corpus = prepare(
        tmp_path, tokenizer="byte", val_split=0, cleaning=Cleaning(dedup="near"), cache_dir=tmp_path / "cache"
    )
    ids = corpus.train.read(0, corpus.train.num_tokens)
    text = bytes(token for token in ids.tolist() if token != corpus.train.eos_id).decode()
    assert all(body in text for body in bodies) and text.count("changed") == 0
