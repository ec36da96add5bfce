"""Web pages: the main text of an .html file, without menus and footers, every character as it is in the page."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO

from textmill.data.reading.document import Document, Reading
from textmill.data.reading.formats.page_encoding import decoded_page
from textmill.data.reading.formats.page_text import (
    ANNOTATIONS,
    CELLS,
    HTML_SPACE,
    INVISIBLE,
    LINE_ENDERS,
    PREFORMATTED,
    LeftOut,
    collapse,
)
from textmill.data.reading.formats.shielded_characters import Shield
from textmill.data.reading.formats.text import note_unusual
from textmill.data.sources.findings import Notes
from textmill.errors import DataError
from textmill.imports import optional

LARGEST_PAGE = 64 << 20
"""Bytes. A page is read into memory as a whole."""

_AROUND = "text of web pages that is not taken for their main text, as menus and footers, left out, {number} characters"
_OF_A_SENTENCE = ("q", "time", "output", "meter")
_OF_A_CELL = ("code", "del", "s", "strike")
_NOT_IN_XML = re.compile("[\0-\x08\x0b\x0e-\x1f\ufffe\uffff]")  # dropped, or an error, in the library
_OF_CODE = re.compile(r"[\n\t\f]|  +")  # white space of preformatted text that would be lost


def read(file: BinaryIO, name: str, reading: Reading, notes: Notes) -> Iterator[Document]:
    """Yield the main text of the page; a page without any is an empty document and noted.

    Raises what `main_text` raises.
    """
    yield Document(main_text(file.read(LARGEST_PAGE + 1), name, reading, notes), name)


def main_text(page: bytes, name: str, reading: Reading, notes: Notes) -> str:
    """Return the main text of a page with a line end behind it; "" where there is none.

    Ruby annotations and what is around the main text are left out, counted and noted. Raises DataError for a page
    beyond LARGEST_PAGE or not in its encoding (see `decoded_page`), MissingExtraError without trafilatura.
    """
    trafilatura = optional("trafilatura", f"reading {name}")
    if len(page) > LARGEST_PAGE:
        raise DataError(f"{name} is larger than {LARGEST_PAGE >> 20} MiB: split it, or extract its text first")
    source = decoded_page(page, name, reading, notes)
    text, there, left_out = "", Counter[str](), LeftOut()
    if source.strip():
        shield = Shield(source)
        tree = _parsed(_NOT_IN_XML.sub(lambda found: shield.exchange_all(found[0]), source), name)
        if tree is not None:
            there = _make_safe(tree, shield, left_out)
            text = shield.restore(trafilatura.extract(tree, include_comments=False) or "")
    if not text:
        notes.add("no main text found in the page", name)
    left_out.note(notes, name)
    if around := sum(count for one, count in (there - Counter(text)).items() if one not in HTML_SPACE):
        notes.add(_AROUND, name, around)
    note_unusual(text, name, notes)
    return text + "\n" if text else ""


def _parsed(source: str, name: str) -> Any:
    """Return the tree of a page, broken ones as browsers read them, as far as the library does; None if it is empty."""
    html = optional("lxml.html", f"reading {name}")
    parser = html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, collect_ids=False)
    try:
        return html.document_fromstring(source.encode("utf-8"), parser=parser)
    except html.etree.ParserError:  # a page of comments alone
        return None


def _make_safe(tree: Any, shield: Shield, left_out: LeftOut) -> Counter[str]:
    """Collapse white space, take annotations out and exchange what would not pass; return the page's characters.

    White space of preformatted text is exchanged too. Lines of white space alone are as the library treats them.
    """
    for annotation in list(tree.iter(*ANNOTATIONS)):
        inner = any(outer.tag in ANNOTATIONS for outer in annotation.iterancestors())
        left_out.annotations += annotation.tag != "rp" and not inner and bool(annotation.text_content().strip())
        annotation.drop_tree()
    _join_sentences(tree)
    for script in tree.iter("script"):  # from which the library takes the text of a page that has it nowhere else
        if script.get("type") == "application/ld+json" and script.text:
            script.text = shield.exchange_json(script.text)
    there: list[str] = []
    for slots, preformatted in _lines(tree):
        pieces = [getattr(element, which) for element, which in slots]
        if not any(map(str.strip, pieces)):
            continue
        there += pieces
        if preformatted:
            pieces[0] = pieces[0].lstrip("\n")
            pieces[-1] = pieces[-1].rstrip("\n")
            pieces = [_OF_CODE.sub(lambda found: shield.exchange_all(found[0]), piece) for piece in pieces]
        else:
            pieces = collapse(pieces, left_out)
        safe, start = shield.exchange("".join(pieces)), 0
        for (element, which), piece in zip(slots, pieces):
            end = start + len(piece)
            if getattr(element, which) != safe[start:end]:
                setattr(element, which, safe[start:end])
            start = end
    counts = Counter("".join(there))
    return Counter(dict(zip(shield.restore("".join(counts)), counts.values())))


def _join_sentences(tree: Any) -> None:
    """Take the marks off the parts of a sentence that the library would drop, or part from it by a space or a line.

    That is a time or a number with text behind it, a quotation, and code and struck text in a table. To it a short
    paragraph with two short links is a menu, which in Chinese and Japanese it is not where a sentence ends.
    """
    for element in list(tree.iter(*_OF_A_SENTENCE, *_OF_A_CELL)):
        inside = {outer.tag for outer in element.iterancestors()}
        goes_on = element.tag == "q" or bool((element.tail or "").strip())
        if not inside & PREFORMATTED and (inside & CELLS if element.tag in _OF_A_CELL else goes_on):
            _unmark(element)
    for paragraph in tree.iter("p", "li"):
        if len(links := list(paragraph.iter("a"))) > 1:
            outside = "".join(paragraph.xpath(".//text()[not(ancestor::a)]"))
            if any(end in outside for end in "。！？"):
                for link in links:
                    _unmark(link)


def _unmark(element: Any) -> None:
    """Make an element one that says nothing; to take it out would take as long as it has siblings."""
    element.tag = "span"
    element.attrib.clear()


def _lines(tree: Any) -> Iterator[tuple[list[tuple[Any, str]], bool]]:
    """Yield the texts of the page that are one line each, as (element, attribute), and whether it is preformatted."""
    walk = optional("lxml.etree", "reading web pages").iterwalk(tree, events=("start", "end"))
    slots: list[tuple[Any, str]] = []
    preformatted = invisible = 0
    for event, element in walk:
        tag, begins = element.tag, event == "start"
        if slots and (tag in LINE_ENDERS or tag in CELLS or tag in INVISIBLE):
            yield slots, preformatted > 0
            slots = []
        preformatted += (tag in PREFORMATTED) * (1 if begins else -1)
        invisible += (tag in INVISIBLE) * (1 if begins else -1)
        which = "text" if begins else "tail"
        if not invisible and getattr(element, which):
            slots.append((element, which))
    if slots:
        yield slots, False
