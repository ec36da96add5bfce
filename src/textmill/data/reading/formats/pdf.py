"""PDF: the text layer, page by page."""

from collections.abc import Iterator
from typing import BinaryIO

from textmill.data.reading.document import Document, Reading
from textmill.data.sources.findings import Notes
from textmill.imports import optional

_NO_CHARACTERS = {
    "\ufffe": "hyphens at line ends of PDF pages left out and the words joined, {number} of them",
    "\uffff": "signs of PDF pages whose font does not tell the character left out, {number} of them",
}
"""What pdfium writes -> what it means."""


def read(file: BinaryIO, name: str, reading: Reading, notes: Notes) -> Iterator[Document]:
    """Yield the pages as parts of one document, a blank line between them.

    Text is what the file stores as text; a PDF without any, such as scanned pages, is noted. Raises the library's error
    for a damaged or encrypted file, MissingExtraError without pypdfium2.
    """
    pages = optional("pypdfium2", f"reading {name}").PdfDocument(file)
    count, found = len(pages), False
    for number in range(count):
        text = _page_text(pages[number], name, notes)
        found = found or bool(text.strip())
        yield Document(text + ("\n\n" if number < count - 1 else "\n"), name, continues=number < count - 1)
    if not found:
        notes.add("no text in the PDF (scanned pages need OCR first)", name)


def _page_text(page: object, name: str, notes: Notes) -> str:
    text = page.get_textpage().get_text_range()  # type: ignore[attr-defined]
    for character, finding in _NO_CHARACTERS.items():
        if number := text.count(character):
            notes.add(finding, name, number)
            text = text.replace(character, "")
    # Line ends are \r\n; lone surrogates are possible.
    return text.replace("\r\n", "\n").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
