"""Text in another encoding is refused with the one that it probably is in, and never becomes U+FFFD unsaid."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from textmill.data import read_documents
from textmill.data.reading.document import Reading
from textmill.data.reading.formats.invalid_bytes import probable_encodings
from textmill.data.sources.findings import Notes
from textmill.errors import DataError

# Article 1 of the Universal Declaration of Human Rights, United Nations (udhr in Unicode).
ARTICLE = {
    "Russian": "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью "
    "и должны поступать в отношении друг друга в духе братства.",
    "French": "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et de "
    "conscience et doivent agir les uns envers les autres dans un esprit de fraternité.",
    "Polish": "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Są oni obdarzeni "
    "rozumem i sumieniem i powinni postępować wobec innych w duchu braterstwa.",
    "Greek": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα. Είναι προικισμένοι "
    "με λογική και συνείδηση, και οφείλουν να συμπεριφέρονται μεταξύ τους με πνεύμα αδελφοσύνης.",
    "Japanese": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。人間は、"
    "理性と良心とを授けられており、互いに同胞の精神をもって行動しなければならない。",
    "Chinese": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",
    "Korean": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 인간은 천부적으로 이성과 양심을 "
    "부여받았으며 서로 형제애의 정신으로 행동하여야 한다.",
    "Thai": "มนุษย์ทั้งปวงเกิดมามีอิสระและเสมอภาคกันในศักดิ์ศรีและสิทธิ ต่างมีเหตุผลและมโนธรรม และควรปฏิบัติต่อกันด้วยเจตนารมณ์แห่งภราดรภาพ",
}

HUNGARIAN = (
    "Minden emberi lény szabadon születik és egyenlő méltósága és joga van. Az emberek, ésszel és lelkiismerettel "
    "bírván, egymással szemben testvéri szellemben kell hogy viseltessenek."
)


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def texts(path: Path, notes: Notes | None = None, **how: Any) -> list[str]:
    return [document.text for document in read_documents([path], Reading(**how), notes)]


@pytest.mark.parametrize(
    ("language", "encoding", "named"),
    [
        ("Russian", "cp1251", "cp1251"),
        ("Russian", "koi8-r", "koi8-r"),
        ("Russian", "cp866", "cp866"),
        ("French", "latin-1", "cp1252"),
        ("Polish", "iso8859-2", "iso8859-2"),
        ("Greek", "iso8859-7", "cp1253"),
        ("Japanese", "shift_jis", "cp932"),
        ("Japanese", "euc_jp", "euc-jp"),
        ("Chinese", "gb2312", "gb18030"),
        ("Korean", "euc_kr", "cp949"),
        ("Thai", "tis-620", "cp874"),
    ],
)
def test_the_probable_encoding_is_named_and_reads_the_text(
    tmp_path: Path, language: str, encoding: str, named: str
) -> None:
    """In plain text, rows and packed files, with the beginning in it; the flag that is named reads the text."""
    text = ARTICLE[language]
    for name, content in [
        ("a.txt", text),
        ("a.jsonl", f'{{"text": "{text}"}}\n'),
        ("a.csv", f'id,text\n1,"{text}"\n'),
        ("a.txt.gz", text),
    ]:
        packed = gzip.compress if name.endswith(".gz") else bytes
        path = written(tmp_path / name, packed(content.encode(encoding)))
        with pytest.raises(DataError) as refused:
            texts(path)
        message = str(refused.value)
        assert str(path) in message and "at offset" in message and "\n" not in message
        assert f"it is probably {named} (" in message and f"read it with --encoding {named}," in message
        assert texts(path, encoding=named) == [text]


def test_what_is_not_known_is_not_named(tmp_path: Path) -> None:
    """A few damaged bytes in UTF-8 are not another encoding; bytes of no text have none."""
    damaged = written(tmp_path / "a.txt", ARTICLE["Greek"].encode() + b"\x80 end")
    with pytest.raises(
        DataError, match=r"not UTF-8: byte 0x80 at offset 359 .*a few bytes are damaged: repair it, or use"
    ):
        texts(damaged)
    assert not probable_encodings(bytes(range(256)) * 40)


def test_two_that_are_as_likely_are_both_named_where_they_differ(tmp_path: Path) -> None:
    """Hungarian has two letters by which its encoding is told from that of western Europe."""
    path = written(tmp_path / "a.txt", HUNGARIAN.encode("cp1250"))
    with pytest.raises(DataError) as refused:
        texts(path)
    shown = HUNGARIAN[HUNGARIAN.index("ő") - 12 :][:24]
    both = f"cp1252 ({shown.replace('ő', 'õ')!r}) or cp1250 ({shown!r})"
    assert f"it is probably {both}: read it with --encoding cp1252," in str(refused.value)


def test_another_encoding_than_the_one_given_is_named_too(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", ARTICLE["Russian"].encode("cp1251"))
    with pytest.raises(DataError, match=r"is not cp932: byte .*it is probably cp1251 \('Все люди.*--encoding cp1251"):
        texts(path, encoding="cp932")
    written(path, ARTICLE["Russian"].encode())
    with pytest.raises(DataError, match=r"is not ascii: byte 0xD0 at offset 0 .*it is UTF-8: leave --encoding out"):
        texts(path, encoding="ascii")


def test_utf8_that_is_read_as_something_else_is_said(tmp_path: Path) -> None:
    """Most 8-bit encodings accept any bytes; a text in one of them is not UTF-8 by chance."""
    notes = Notes()
    path = written(tmp_path / "a.txt", ARTICLE["French"].encode())
    assert texts(path, notes, encoding="latin-1") == [ARTICLE["French"].encode().decode("latin-1")]
    assert notes.sentences() == [f"read as iso8859-1, as --encoding says, though it is UTF-8: {path}"]
    for content in (ARTICLE["French"].encode("latin-1"), b"plain"):
        notes = Notes()
        texts(written(path, content), notes, encoding="latin-1")
        assert not notes.sentences()


def test_replaced_characters_are_counted_and_placed(tmp_path: Path) -> None:
    """Bytes that were asked to be replaced, and U+FFFD that a text has already: once, how many, where the first is."""
    content = ARTICLE["Russian"].encode("cp1251")
    for name in ("a.txt", "a.jsonl"):
        path = written(
            tmp_path / name, content if name == "a.txt" else b'{"text": "' + content + b'"}\n{"text": "\xff"}\n'
        )
        notes = Notes()
        number = sum(text.count("\ufffd") for text in texts(path, notes, encoding_errors="replace"))
        where = path if name == "a.txt" else f"{path}:1 and 1 more"
        replaced, counted = notes.sentences()
        assert replaced.startswith("bytes that are not UTF-8 are replaced by U+FFFD; it is probably cp1251 (--encoding")
        assert counted.startswith("U+FFFD, which stands for what was lost when text was decoded, is part of the text")
        assert replaced.endswith(f": {path}") and counted.endswith(f", {number} of them: {where}")
    notes = Notes()
    path = written(tmp_path / "b.txt", "one\ntwo \ufffd\n\ufffd\ufffd".encode())
    texts(path, notes)
    assert notes.sentences()[0].endswith(f", 3 of them: {path}, line 2")


@pytest.mark.parametrize("size", [3, 16, 1 << 20])
def test_the_line_is_counted_through_all_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Also where a text comes in parts, and not into the next file."""
    from textmill.data.reading.formats import text as text_format

    monkeypatch.setattr(text_format, "PART_BYTES", size)
    notes = Notes()
    paths = [
        written(tmp_path / name, ("a word\n" * 20 + "x \ufffd y\n\ufffd\n").encode()) for name in ("a.txt", "b.txt")
    ]
    for _ in read_documents(paths, Reading(), notes):
        pass
    assert notes.sentences()[0].endswith(f", 4 of them: {paths[0]}, line 21 and 1 more")
