"""`textmill data`: what it says of small corpora is what a hand counts, and a trigram model is one of the textbook."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textmill.cli.main import main
from textmill.data.examine import examine_corpus
from textmill.data.examine.examine_corpus import examine
from textmill.data.examine.text_sample import TextSample
from textmill.data.examine.trigram_baseline import trigram_bits
from textmill.data.reading.document import Reading

PIECES = st.lists(st.lists(st.integers(0, 3), max_size=8), min_size=1, max_size=4)


def textbook(train: list[list[int]], word: int, history: tuple[int, ...], vocab_size: int) -> float:
    """p(word | history) by Witten and Bell, recursively from dictionaries of counts."""
    followers: Counter[int] = Counter()
    for piece in train:
        marked = [vocab_size, vocab_size, *piece]
        for at in range(2, len(marked)):
            if tuple(marked[at - len(history) : at]) == history:
                followers[marked[at]] += 1
    shorter = textbook(train, word, history[1:], vocab_size) if history else 1 / vocab_size
    if not followers:
        return shorter
    return (followers[word] + len(followers) * shorter) / (followers.total() + len(followers))


@given(train=PIECES.filter(any), held_out=PIECES.filter(any))
def test_bits_are_those_of_the_textbook(train: list[list[int]], held_out: list[list[int]]) -> None:
    """On any small text the arrays give what the recursive definition gives, and probabilities sum to one."""
    expected = 0.0
    for piece in held_out:
        marked = [4, 4, *piece]
        for at in range(2, len(marked)):
            expected -= math.log2(textbook(train, marked[at], (marked[at - 2], marked[at - 1]), 4))
    learned, measured = ([np.array(piece, dtype=np.uint32) for piece in part] for part in (train, held_out))
    assert trigram_bits(learned, measured, 4) == pytest.approx(expected)
    assert sum(textbook(train, word, (0, 1), 4) for word in range(4)) == pytest.approx(1)


def test_one_trigram_by_hand() -> None:
    """After `0 1 0` the second 1 of `0 1`: p1 = (1 + 2/2)/(3 + 2) = 0.4, p2 = (1 + 0.4)/2, p3 as p(1 | mark 0)."""
    train, held_out = [np.array([0, 1, 0])], [np.array([0, 1])]
    first = {1: (2 + 2 * 0.5) / (3 + 2)}  # two of three tokens are 0, two kinds
    first[2] = (1 + 1 * first[1]) / (1 + 1)  # the one token after a mark is 0
    first[3] = (1 + 1 * first[2]) / (1 + 1)
    second = (1 + 1 * ((1 + 1 * 0.4) / (1 + 1))) / (1 + 1)
    assert trigram_bits(train, held_out, 2) == pytest.approx(-math.log2(first[3]) - math.log2(second))


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A folder of three scripts, with one of each thing that is reported."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "a.txt").write_text("one line\nschÃ¶n\n", encoding="utf-8")
    rows = ["abc", "abc", "да", "ក\u200bខ", "12 34", "  ", "x\ufffdy\ufffd", "\ue000z", "-" * 150, "abc", "q\x01q"]
    lines = "".join(json.dumps({"text": row}, ensure_ascii=False) + "\n" for row in rows)
    (folder / "b.jsonl").write_text(lines, encoding="utf-8")
    (folder / "c.txt").write_bytes("caf\u00e9\n".encode("utf-16"))
    (folder / "d.js").write_text("var a;\n" + "f(a=1);" * 200 + "\n" + "word " * 2001 + "\n")
    return folder


def found_in(folder: Path, **others: Any) -> dict[str, Any]:
    """What is said of the files in `folder`."""
    return examine(sorted(folder.iterdir()), Reading(), **others)


def test_what_is_suspicious_is_named_with_its_line(mixed: Path) -> None:
    """Each planted thing is counted once, or by its characters, and the first is named; nothing else is."""
    found = {one["kind"]: (one["number"], one["first"]) for one in found_in(mixed)["findings"]}
    a, b, d = mixed / "a.txt", mixed / "b.jsonl", mixed / "d.js"
    assert found == {
        "mojibake": (1, f"{a}, line 2"),
        "copies": (2, f"{b}:2"),
        "invisible": (1, f"{b}:4"),
        "no_letters": (2, f"{b}:5"),
        "blank": (1, f"{b}:6"),
        "replacement": (2, f"{b}:7"),
        "private": (1, f"{b}:8"),
        "run": (1, f"{b}:9"),
        "control": (1, f"{b}:11"),
        "minified": (1, f"{d}, line 2"),
        "long_lines": (1, f"{d}, line 3"),
    }


def test_counts_are_those_of_a_hand(tmp_path: Path) -> None:
    """Documents, characters, bytes, quantiles and scripts of four rows in three scripts."""
    rows = ["abcd", "да", "កា", "ab 12!"]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    found = examine([path], Reading())
    assert (found["documents"], found["characters"], found["bytes"]) == (4, 14, 4 + 4 + 6 + 6)
    assert found["different_characters"] == len(set("".join(rows)))
    assert found["lengths"] == {"shortest": 2, "5 %": 2, "median": 2, "95 %": 4, "longest": 6}
    assert found["longest"] == f"{path}:4" and found["encodings"] == {"utf-8": 1}
    assert found["scripts"] == {"Latn": 0.6, "Cyrl": 0.2, "Khmr": 0.2}
    assert found["findings"] == [] and found["mixed_forms"] is None


def test_encodings_are_told_by_their_marks(mixed: Path) -> None:
    """UTF-16 with its mark is read as such and named."""
    said: list[str] = []
    found = found_in(mixed, say=said.append)
    assert sum(found["encodings"].values()) == 4
    assert [name for name in found["encodings"] if "utf-16" in name] == ["utf-16 with a byte order mark"]
    assert any("byte order mark, read as such" in sentence for sentence in said)


def test_tokenizers_are_measured_on_text_they_have_not_seen(shared: Path) -> None:
    """Characters of plays are bytes; BPE has longer tokens and fewer bits; the same figures come back."""
    found = examine([shared / "data/wikitext2-test.txt"], Reading())
    char, byte, bpe = found["tokenizers"]
    assert byte["bytes_per_token"] == 1 and byte["unknown"] == 0
    assert char["characters_per_token"] == 1 and 2.4 < bpe["bytes_per_token"] < 4.5
    assert bpe["trigram_bits_per_byte"] < byte["trigram_bits_per_byte"] < 4


def test_a_large_corpus_is_read_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the limit each file is read in its share, which is said; `everything` reads all."""
    monkeypatch.setattr(examine_corpus, "MOST_READ", 1000)
    monkeypatch.setattr(examine_corpus, "LEAST_READ", 100)
    for name, number in (("a.jsonl", 100), ("b.jsonl", 300)):
        (tmp_path / name).write_text('{"text":"0123456789"}\n' * number)
    said: list[str] = []
    found = found_in(tmp_path, say=said.append)
    assert said == ["read 1.0 kB of text, the beginnings of 2 of 2 files, which have 8.8 kB: --all reads all"]
    assert found["documents"] == 25 + 75 and not found["complete"]  # shares of 250 and 750 bytes
    assert found_in(tmp_path, everything=True)["documents"] == 400


def test_the_sample_is_from_all_of_the_text() -> None:
    """A tenth of a long text in pieces: all parts of it are met, and the tail is what is measured on."""
    sample = TextSample(40 << 20)
    for letter in "abcdefghij":
        sample.add(letter * (4 << 20))
    assert {piece[0] for piece in sample.pieces} == set("abcdefghij")
    assert sum(map(len, sample.pieces)) == pytest.approx(1 << 20, rel=0.02)
    train, held_out = sample.divided()
    assert {piece[0] for piece in held_out} == {"j"} and [*train, *held_out] == sample.pieces


def test_the_screen_and_json_say_the_same(mixed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The verb prints the counts, the flag that mends each finding, and all of it as JSON."""
    assert main(["data", str(mixed)]) == 0
    shown = capsys.readouterr().out
    assert "14 documents" in shown and "--repair ftfy" in shown and "--dedup exact" in shown and "Khmr (Khmer)" in shown
    assert main(["data", str(mixed), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["documents"] == 14


@pytest.mark.parametrize("content", [b"", b"caf\xe9", b"\x89PNG\r\n"], ids=["empty", "latin-1", "image"])
def test_what_cannot_be_read_is_refused_as_by_prepare(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is that of prepare, and so is the sentence where the file itself is wrong."""
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    code = main(["data", str(path)])
    said = capsys.readouterr().err
    cache = ["--output", str(tmp_path / "out"), "--cache-dir", str(tmp_path / "cache")]
    assert code == main(["prepare", str(path), *cache]) == 65
    assert not content or said == capsys.readouterr().err
    assert main(["data", str(tmp_path / "missing.txt")]) == 66
