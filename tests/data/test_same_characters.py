"""The same text in every container is the same characters, whatever the script; what a page loses is counted."""

from __future__ import annotations

import csv
import gzip
import html
import io
import json
import quopri
import re
import zipfile
from collections.abc import Callable
from email.mime.image import MIMEImage
from email.mime.multipart import MIMEMultipart
from email.mime.nonmultipart import MIMENonMultipart
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from support.awkward_texts import AWKWARD
from support.hypothesis_campaign import campaign, few_or_many
from textmill.data import prepare
from textmill.data.reading.document import Reading
from textmill.data.reading.read_documents import read_documents
from textmill.data.sources.findings import Notes
from textmill.errors import DataError

HARD = {
    "Persian with ZWNJ": "تمام افراد بشر آزاد به دنیا می‌آیند و از لحاظ حیثیت و حقوق با هم برابرند",
    "Khmer with ZWSP": "មនុស្ស\u200bទាំងអស់\u200bកើត\u200bមក\u200bមាន\u200bសេរីភាព",
    "emoji of several": "👨‍👩‍👧‍👦 🏳️‍🌈 👩🏽‍🚀 ❤️ 1️⃣",
    "pointed Hebrew": "כׇּל־בְּנֵי הָאָדָם נוֹלְדוּ בְּנֵי חוֹרִין שׁ\u05b8 \u05e9\u05b8\u05c1",
    "Arabic with marks of direction": "\u200fالنص\u200f \u202bإلى\u202c \u2067اليمين\u2069 \u061cABC\u200e",
    "soft hyphens": "Donau\u00addampf\u00adschiff\u00adfahrt",
    "NFD": "E\u0301 va\u0301 Yoru\u0300ba\u0301 a\u0323\u0302 \u1112\u1161\u11ab\u1100\u1173\u11af",
    "NFC, and what has no composed form": "É vá Yorùbá ậ 한글 \u0958 \u2126 \ufb2a ﬁ Å",
    "ideographic spaces": "\u3000人類社会の　すべての　構成員の固有の尊厳",
    "Chinese lines": "人人生而自由\n在尊严和权利上一律平等。“他们”\n赋有理性",
    "other spaces": "10\u202f000\u00a0€\u2009! a\u2003b\u1680c\u205fd\u2028e\u2029f\x85g",
    "Tibetan, Gujarati, Syriac": "འགྲོ་བ་མིའི་རིགས ક્ષત્રિય ܟܠ ܒܪܢܫܐ",
    "private use, unassigned, last": "\ue000 \U000f0000 \u0378 \U0003ffff \U0010fffd",
    "entities as text": "&amp; &lt;b&gt; &#38; &zwnj; AT&T <b>|</b> \u2424 ]]>",
    "controls": "a\x00b\x01c\x1bd\x1fe\x7ff\u0080g",
    **{repr(text): text for text in AWKWARD if text.isprintable() and text.strip()},
}


def as_csv(text: str, separator: str = ",") -> bytes:
    table = io.StringIO()
    csv.writer(table, delimiter=separator, quoting=csv.QUOTE_ALL).writerows([["text", "n"], [text, "1"]])
    return table.getvalue().encode()


def as_table(text: str, *, parquet: bool) -> bytes:
    import pyarrow
    import pyarrow.parquet

    out, table = io.BytesIO(), pyarrow.table({"text": [text]})
    if parquet:
        pyarrow.parquet.write_table(table, out)
    else:
        with pyarrow.ipc.new_stream(out, table.schema) as writer:
            writer.write_table(table)
    return out.getvalue()


AROUND = [f"Paragraph {n} of the article tells something about bears and rivers." for n in range(6)]


def paragraphs(text: str, escape: Callable[[str], str] = html.escape) -> str:
    return "".join(f"<p>{escape(line)}</p>" for line in text.split("\n"))


def as_page(text: str, escape: Callable[[str], str] = html.escape) -> str:
    body = paragraphs("\n".join(AROUND[:3])) + paragraphs(text, escape) + paragraphs("\n".join(AROUND[3:]))
    return f"<!DOCTYPE html><html><head><title>t</title></head><body><article>\n{body}</article></body></html>"


def as_archive(page: bytes, charset: str, *more: bytes) -> bytes:
    """A page as a browser saves it, with a picture, and with `more` pages in frames."""
    archive = MIMEMultipart("related", type="text/html")
    for each in (page, *more):
        part = MIMENonMultipart("text", "html", charset=charset)
        part.set_payload(quopri.encodestring(each).decode("ascii"))
        part["Content-Transfer-Encoding"] = "quoted-printable"
        archive.attach(part)
    archive.attach(MIMEImage(b"GIF89a", "gif"))
    return archive.as_bytes()


def as_book(*chapters: bytes) -> bytes:
    numbers = range(len(chapters))
    items = "".join(f'<item id="c{n}" href="c{n}.xhtml" media-type="application/xhtml+xml"/>' for n in numbers)
    spine = "".join(f'<itemref idref="c{n}"/>' for n in numbers)
    package = f'<package xmlns="urn:y"><manifest>{items}</manifest><spine>{spine}</spine></package>'
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as book:
        container = '<container xmlns="urn:x"><rootfiles><rootfile full-path="b.opf"/></rootfiles></container>'
        book.writestr("META-INF/container.xml", container)
        book.writestr("b.opf", package)
        for number, chapter in enumerate(chapters):
            book.writestr(f"c{number}.xhtml", chapter)
    return out.getvalue()


def chapter(text: str, encoding: str = "utf-8", escape: Callable[[str], str] = html.escape) -> bytes:
    declaration = f'<?xml version="1.0" encoding="{encoding}"?>\n'
    return f"{declaration}<html><body>{paragraphs(text, escape)}</body></html>".encode(encoding)


def by_number(text: str) -> str:
    """Every character as a reference, but for those that HTML takes for others."""
    return "".join(html.escape(one) if one in "\0" or one < "\xa0" else f"&#x{ord(one):X};" for one in text)


CONTAINERS: dict[str, tuple[Callable[[str], bytes], str]] = {
    "a.txt": (str.encode, ""),
    "marked.txt": (lambda text: text.encode("utf-16"), ""),
    "packed.txt.gz": (lambda text: gzip.compress(text.encode()), ""),
    "a.jsonl": (lambda text: json.dumps({"text": text}).encode(), ""),
    "raw.jsonl": (lambda text: json.dumps({"text": text}, ensure_ascii=False).encode() + b"\n", ""),
    "a.json": (lambda text: json.dumps([{"text": text}], ensure_ascii=False).encode(), ""),
    "a.csv": (as_csv, ""),
    "a.tsv": (lambda text: as_csv(text, "\t"), ""),
    "a.parquet": (lambda text: as_table(text, parquet=True), "pyarrow"),
    "a.arrow": (lambda text: as_table(text, parquet=False), "pyarrow"),
    "a.html": (lambda text: as_page(text).encode(), "trafilatura"),
    "references.html": (lambda text: as_page(text, by_number).encode(), "trafilatura"),
    "packed.html.gz": (lambda text: gzip.compress(as_page(text).encode()), "trafilatura"),
    "a.mhtml": (lambda text: as_archive(as_page(text).encode(), "utf-8"), "trafilatura"),
    "a.epub": (lambda text: as_book(chapter(text)), ""),
    "wide.epub": (lambda text: as_book(chapter(text, "utf-16")), ""),
    "references.epub": (lambda text: as_book(chapter(text, escape=by_number)), ""),
}
"""Name -> a text in that container, and the package that reading it needs."""


def read(path: Path, **how: Any) -> tuple[str, list[str]]:
    """Return the text of a file, of a page without what stands around it, and what was noted."""
    notes = Notes()
    text = "".join(document.text for document in read_documents([path], Reading(**how), notes))
    if ".html" in path.name or path.suffix == ".mhtml":
        text = text.removeprefix("\n".join(AROUND[:3]) + "\n").removesuffix("\n".join(AROUND[3:]) + "\n")
    return text.removesuffix("\n"), notes.sentences()


def needs(name: str) -> None:
    if (package := CONTAINERS[name][1]) and find_spec(package) is None:
        pytest.skip(f"needs {package}, of the extra data")


@pytest.mark.parametrize("name", CONTAINERS)
def test_hard_texts_are_the_same_in_every_container(tmp_path: Path, name: str) -> None:
    """Joiners, marks of direction, points, normal forms, every kind of space: nothing is added, dropped or changed."""
    needs(name)
    for what, text in HARD.items():
        (tmp_path / name).write_bytes(CONTAINERS[name][0](text))
        assert read(tmp_path / name)[0] == text, what


@pytest.mark.parametrize("name", CONTAINERS)
def test_seventeen_languages_are_the_same_in_every_container(tmp_path: Path, name: str) -> None:
    """The beginning of the Declaration of Human Rights in each language of the benchmark, in 15 scripts."""
    needs(name)
    texts = sorted((Path(__file__).parents[2] / "benchmarks" / "texts").glob("*.txt"))
    assert len(texts) == 17
    for path in texts:
        text = path.read_text(encoding="utf-8")[:1000].strip()
        (tmp_path / name).write_bytes(CONTAINERS[name][0](text))
        assert read(tmp_path / name)[0] == text, path.name


def as_memory(text: str) -> bytes:
    segment = f'<tu><tuv xml:lang="x"><seg>{html.escape(text)}</seg></tuv></tu>'
    return f'<?xml version="1.0" encoding="utf-16"?><tmx><body>{segment}</body></tmx>'.encode("utf-16")


def cue(point: str, text: str) -> str:
    return f"00:00:01{point}000 --> 00:00:02{point}000\n{text}\n\n"


OF_LINES: dict[str, Callable[[str], bytes]] = {
    "a.srt": lambda text: f"1\n{cue(',', text)}".encode(),
    "a.vtt": lambda text: f"WEBVTT\n\n{cue('.', html.escape(text, quote=False))}".encode(),
    "a.tmx": as_memory,
}


@pytest.mark.parametrize("name", OF_LINES)
def test_hard_lines_are_the_same_in_subtitles_and_translations(tmp_path: Path, name: str) -> None:
    """Nothing of a line is dropped there either, but for what these formats cannot contain: tags and controls."""
    for what, text in HARD.items():
        if "\n" not in text and "\0" not in text and not (name == "a.srt" and "<" in text):
            (tmp_path / name).write_bytes(OF_LINES[name](text))
            assert read(tmp_path / name)[0] == text, what


def test_hard_texts_are_the_same_from_a_program_and_in_the_ids(tmp_path: Path) -> None:
    """What a generator yields is kept and tokenized as it is: the bytes of the texts are the ids."""
    corpus = prepare(lambda: iter(HARD.values()), tokenizer="byte", val_split=0, cache_dir=tmp_path)
    assert corpus.tokenizer is not None
    assert corpus.tokenizer.decode(corpus.train.read(0, corpus.train.num_tokens)) == "".join(HARD.values())


lines = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r\f "), min_size=1, max_size=20)
any_lines = st.lists(lines.map("x{}".format), min_size=1, max_size=3).map("\n".join)


@few_or_many
@pytest.mark.parametrize("name", [name for name in CONTAINERS if not name.startswith("references")])
def test_any_text_is_the_same_in_every_container(tmp_path: Path, name: str, examples: int) -> None:
    """All of Unicode but the white space that HTML collapses, unassigned and private characters included."""
    needs(name)

    def check(text: str) -> None:
        (tmp_path / name).write_bytes(CONTAINERS[name][0](text))
        assert read(tmp_path / name)[0] == text

    campaign(examples, any_lines, check)


JAPANESE = "すべての人間は、\n生れながらにして自由であり、\n「尊厳」と　権利とについて\n平等である。"
GERMAN = "Über die Größe der Bäume und die Schönheit der Wälder haben früher viele Dichter geschrieben."
RUBY = (
    "<ruby>漢字<rp>(</rp><rt>かんじ</rt><rp>)</rp></ruby>と<ruby>仮<rt>か</rt>名<rt>な</rt></ruby>と"
    "<ruby><rb>文</rb><rtc><rt>ぶん</rt></rtc></ruby>章"
)


def write(path: Path, body: str, encoding: str = "utf-8", declared: str = "") -> None:
    """Write a page or a book with this body, whose encoding is declared as such."""
    if path.suffix == ".epub":
        declaration = f'<?xml version="1.0" encoding="{declared or encoding}"?>'
        path.write_bytes(as_book(f"{declaration}<html><body>{body}</body></html>".encode(encoding)))
    else:
        meta = f'<meta http-equiv="Content-Type" content="text/html; charset={declared or encoding}">'
        around = [paragraphs("\n".join(part)) for part in (AROUND[:3], AROUND[3:])]
        page = f"<html><head>{meta}</head><body><article>{body.join(around)}</article></body></html>"
        path.write_bytes(page.encode(encoding))


@pytest.fixture(params=["a.html", "a.epub"])
def page(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    needs(request.param)
    return tmp_path / request.param


def test_readings_and_line_ends_within_words(page: Path) -> None:
    """Ruby is no part of the words, a line of Japanese goes on in the next one; Latin and Korean words stay apart."""
    write(page, f"<p>{JAPANESE}</p><p>{RUBY}</p><p>two\nwords 文\nand <b>文\n</b>章 한국\n말 ខ\u200b\nគ 😀\n😀</p>")
    text, notes = read(page)
    assert text == JAPANESE.replace("\n", "") + "\n漢字と仮名と文章\ntwo words 文 and 文章 한국 말 ខ\u200bគ 😀 😀"
    said = [note.removesuffix(f": {page}") for note in notes]
    assert "ruby annotations, the readings above words, left out, 4 of them" in said
    assert "line ends between Chinese or Japanese characters are no spaces, 5 of them" in said


@pytest.mark.parametrize("where", ["<p>{}</p>", "<table><tr><td>{}</td></tr></table>", "<ul><li>{}</li></ul>"])
def test_sentences_with_marks_in_them(page: Path, where: str) -> None:
    """Emphasis, links, times, quotations, code: no part is dropped or parted from the rest by a space."""
    names = "b i em strong u s del mark small sub sup span q code kbd cite abbr dfn time data font bdi var meter output"
    parts = [f"<{name}>語</{name}>文" for name in names.split()]
    sentence = "日本" + "".join(parts) + "<a href='x'>語</a>と<a href='y'>語</a>です。"
    write(page, where.format(sentence))
    assert re.sub("<.*?>", "", sentence) in read(page)[0]
    write(page, where.format("<a href='x'>日本</a>と<a href='y'>中国</a>です。"))
    assert "日本と中国です。" in read(page)[0] or "<td>" in where


def test_white_space_of_preformatted_text(page: Path) -> None:
    """Poems and code keep their lines, their indents and the blank lines between them."""
    write(page, "<p>a   b</p><pre>\ndef f():\n    return 1\n\n\n  x = 2 # a  b\n</pre><p>c</p>")
    assert read(page)[0] == "a b\ndef f():\n    return 1\n\n\n  x = 2 # a  b\nc"


@pytest.mark.parametrize(
    ("encoding", "declared", "codec"),
    [
        ("shift_jis", "Shift_JIS", "CP932"),
        ("euc_jp", "EUC-JP", "EUC_JP"),
        ("iso2022_jp", "ISO-2022-JP", "ISO2022_JP"),
        ("cp932", "x-sjis", "CP932"),
    ],
)
def test_pages_in_the_encoding_that_they_declare(page: Path, encoding: str, declared: str, codec: str) -> None:
    """Japanese in the encodings that its older books and pages have, and that is said."""
    write(page, paragraphs(JAPANESE), encoding, declared)
    text, notes = read(page)
    assert text == JAPANESE
    assert f"{codec} as it declares, {declared}, read as such: {page}" in notes


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_pages_in_utf_16(page: Path, encoding: str) -> None:
    """With a byte order mark and without one, which XML allows: no NUL and no U+FFFD."""
    write(page, paragraphs(JAPANESE), encoding, "utf-16")
    assert read(page)[0] == JAPANESE


def test_declarations_that_are_out_of_date(page: Path) -> None:
    """What is UTF-8 is read as UTF-8, as pages are saved by programs that do not mend what they declare."""
    write(page, paragraphs(JAPANESE), "utf-8", "Shift_JIS")
    text, notes = read(page)
    assert text == JAPANESE and f"UTF-8 although it declares Shift_JIS, read as such: {page}" in notes


def test_bytes_that_are_not_in_the_encoding(page: Path) -> None:
    """Refused with page, byte and what it probably is; that can be given, or they are replaced, and both is noted."""
    write(page, f"<p>{GERMAN}</p>", "latin-1", "utf-8")
    refused = r"is not utf-8 \(as it declares, utf-8\): byte 0xDC at offset [\d,]+ .* it is probably cp1252 \('"
    with pytest.raises(DataError, match=refused) as caught:
        read(page)
    assert caught.value.exit_code == 65 and str(page) in str(caught.value)
    text, notes = read(page, encoding="cp1252")
    assert text == GERMAN
    assert f"CP1252 as given, because it is not utf-8 (as it declares, utf-8), read as such: {page}" in notes
    text, notes = read(page, encoding_errors="replace")
    assert text.startswith("\ufffdber die Gr\ufffd\ufffde") and any("U+FFFD" in note for note in notes)


def test_pages_that_declare_no_encoding(page: Path) -> None:
    """UTF-8, or refused; one that is given counts, but not for those that are UTF-8."""
    write(page, f"<p>{GERMAN}</p>", "latin-1", "x-of-1995")
    with pytest.raises(DataError, match=r"it declares x-of-1995, which is unknown.* probably cp1252"):
        read(page)
    text, notes = read(page, encoding="latin-1")
    assert text == GERMAN and f"ISO8859-1 as given, read as such: {page}" in notes
    write(page, f"<p>{GERMAN}</p>", "utf-8", "x-of-1995")
    assert read(page, encoding="latin-1")[0] == GERMAN


def test_a_page_of_comments_is_empty(tmp_path: Path) -> None:
    """It has no text, which is noted; it does not stop the reading of the others."""
    needs("a.html")
    (tmp_path / "a.html").write_text("<!-- nothing here -->")
    assert read(tmp_path / "a.html") == ("", [f"no main text found in the page: {tmp_path / 'a.html'}"])


def test_what_is_around_the_text_of_a_page_is_counted(tmp_path: Path) -> None:
    """The number of characters of menus and footers."""
    needs("a.html")
    nav = "<nav><a href='/'>Home</a> <a href='/x'>About us</a></nav>"
    (tmp_path / "a.html").write_text(as_page("می‌خواهم").replace("<article>", f"{nav}<article>"))
    text, notes = read(tmp_path / "a.html")
    left_out = re.fullmatch(r"text of web pages that is not .* left out, (\d+) characters: .*", notes[0])
    assert text == "می‌خواهم" and left_out is not None and int(left_out[1]) == len("HomeAboutus")


@pytest.mark.parametrize("ascii_only", [False, True])
def test_text_that_a_page_has_in_its_data_alone(tmp_path: Path, ascii_only: bool) -> None:
    """An article that scripts would show, as JSON in the page, keeps its characters too, escaped or not."""
    needs("a.html")
    hard = [*(text for what, text in HARD.items() if text.isascii() is False and "\n" not in text), "a\U00020000b"]
    hard = [re.sub(r"[\0-\x1f\x7f]", "", text) for text in hard if "&" not in text]
    article = "A paragraph, long enough to be taken for text. " * 3 + " ".join(hard) + " m\u200cn p&zwnj;q"
    data = json.dumps({"@type": "NewsArticle", "articleBody": article}, ensure_ascii=ascii_only)
    script = f'<script type="application/ld+json">{data}</script>'
    (tmp_path / "a.html").write_text(f"<html><head>{script}</head><body><div id='app'></div></body></html>")
    assert read(tmp_path / "a.html")[0] == article.replace("&zwnj;", "\u200c").replace("  ", " ")


def test_saved_pages(tmp_path: Path) -> None:
    """The encoding of the part counts where the page declares none; frames are counted; no page is an error."""
    needs("a.html")
    page, frame = as_page(JAPANESE), as_page("another page")
    (tmp_path / "a.mht").write_bytes(as_archive(page.encode("shift_jis"), "shift_jis", frame.encode()))
    assert JAPANESE in read(tmp_path / "a.mht")[0]
    assert f"frames of saved web pages left out, 1 of them: {tmp_path / 'a.mht'}" in read(tmp_path / "a.mht")[1]
    (tmp_path / "a.mht").write_bytes(b"Subject: hello\n\nA mail.")
    with pytest.raises(DataError, match="is a web archive without a web page"):
        read(tmp_path / "a.mht")


def test_books_as_people_have_them(tmp_path: Path) -> None:
    """Cells do not run together, a head may stay open, a section of CDATA is text, each chapter has its encoding."""
    first = "<html><head><title>no</title><body><table><tr><td>a</td><td>b</td></tr></table><![CDATA[x < y]]>"
    chapters = [first.encode(), chapter(JAPANESE, "shift_jis"), chapter(HARD["NFD"], "utf-16")]
    (tmp_path / "a.epub").write_bytes(as_book(*chapters))
    assert read(tmp_path / "a.epub")[0] == f"a b\nx < y\n{JAPANESE}\n{HARD['NFD']}"
