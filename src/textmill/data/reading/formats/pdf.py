"""PDF: the text layer, page by page."""

from collections.abc import Iterator
from typing import BinaryIO

from textmill.data.reading.document import Document, Reading
from textmill.data.sources.findings import Notes
from textmill.imports import optional


def read(file: BinaryIO, name: str, reading: Reading, notes: Notes) -> Iterator[Document]:
    """Yield the pages as parts of one document, a blank line between them.

    Text is what the file stores as text; a PDF without any, such as scanned pages, is noted. Raises the library's error
    for a damaged or encrypted file, MissingExtraError without pypdfium2.
    """
    pages = optional("pypdfium2", f"reading {name}").PdfDocument(file)
    count, found = len(pages), False
    for number in range(count):
        text = _page_text(pages[number])
        found = found or bool(text.strip())
        yield Document(text + ("\n\n" if number < count - 1 else "\n"), name, continues=number < count - 1)
    if not found:
        notes.add("no text in the PDF (scanned pages need OCR first)", name)


def _page_text(page: object) -> str:
    text = page.get_textpage().get_text_range()  # type: ignore[attr-defined]
    # Line ends are \r\n; what the font has no character for is U+FFFE or U+FFFF; lone surrogates are possible.
    text = text.replace("\r\n", "\n").replace("\ufffe", "").replace("\uffff", "")
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
