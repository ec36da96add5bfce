"""The encoding of a page, of the web or of a book: what its bytes show, then what it declares, then what was given."""

import codecs
import re

from textmill.data.reading.document import Reading
from textmill.data.reading.formats.invalid_bytes import remedy
from textmill.data.sources.findings import Notes
from textmill.errors import DataError
from textmill.files.byte_order_mark import marked_encoding

_UNDECLARED = "it declares no encoding"
_DECLARED_WITHIN = 4096  # bytes
_COMMENT = re.compile(rb"<!--.*?(-->|$)", re.DOTALL)
_IN_XML = re.compile(rb"""\s*<\?xml\b[^>]*?\bencoding\s*=\s*["']\s*([\w.:-]+)""")
_IN_META = re.compile(rb"""<meta\b[^>]*?\bcharset\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
_WITHOUT_A_MARK = {
    "utf-16-le": re.compile(rb"([ \t\r\n]\0)*<\0"),
    "utf-16-be": re.compile(rb"(\0[ \t\r\n])*\0<"),
}

_ALSO_CALLED = {"x-sjis": "cp932", "x-gbk": "gb18030", "x-euc-jp": "euc_jp", "x-mac-roman": "mac_roman"}
_LARGER = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "shift_jis": "cp932",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "euc_kr": "cp949",
}
"""Encodings that pages declare for a larger one -> that one. https://encoding.spec.whatwg.org/#names-and-labels"""

_NOT_OF_PAGES = re.compile("utf-?_?(7|16|32)|.*(escape|punycode|idna|undefined|mbcs|oem)")
"""Python's encodings that no page has behind a declaration in ASCII."""


def decoded_page(page: bytes, file: str, reading: Reading, notes: Notes, member: str = "") -> str:
    """Return the text of a page without its byte order mark, its line ends as line feeds; note all but plain UTF-8.

    What is UTF-8 beyond ASCII is read as UTF-8 whatever it declares: text in other encodings does not look like it, and
    pages that were saved anew keep their old declaration. An encoding that was given counts where nothing is declared,
    or something that is not true.

    member: the name of the page in the archive `file`. Raises DataError, naming page and byte, for bytes that are not
    in the encoding, unless they are to be replaced.
    """
    encoding, why = _encoding(page, reading)
    given = reading.encoding
    try:
        text = page.decode(encoding)
    except UnicodeDecodeError as error:
        if given not in ("utf-8", encoding) and _is_in(page, given):
            encoding, why = given, f"as given, because it is not {encoding} ({why})"
        elif reading.encoding_errors == "strict":
            where = f"{file}, {member}" if member else file
            raise DataError(
                f"{where} is not {encoding} ({why}): byte 0x{error.object[error.start]:02X} at offset {error.start:,} "
                f"({error.reason}); {remedy(error)}"
            ) from error
        text = page.decode(encoding, "replace")
    if encoding == "utf-8-sig":
        notes.add("byte order mark dropped", file)
    elif not text.isascii() and (encoding != "utf-8" or why.startswith("although")):
        notes.add(f"{encoding.upper()} {why}, read as such", file)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _encoding(page: bytes, reading: Reading) -> tuple[str, str]:
    """Return the encoding of a page and how it is known."""
    if marked := marked_encoding(page):
        return marked, "by its byte order mark"
    for encoding, begin in _WITHOUT_A_MARK.items():
        if begin.match(page):
            return encoding, "by its first bytes"
    label, declared = _declared(page)
    if not page.isascii() and _is_in(page, "utf-8"):
        return "utf-8", "by its bytes" if declared in (None, "utf-8") else f"although it declares {label}"
    if declared:
        return declared, f"as it declares, {label}"
    if reading.encoding != "utf-8":
        return reading.encoding, "as given"
    return "utf-8", f"it declares {label}, which is unknown" if label else _UNDECLARED


def _is_in(page: bytes, encoding: str) -> bool:
    try:
        page.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _declared(page: bytes) -> tuple[str, str | None]:
    """Return the name that a page declares for its encoding, "" for none, and Python's; None for no such encoding."""
    head = _COMMENT.sub(b"", page[:_DECLARED_WITHIN])
    found = _IN_XML.match(head) or _IN_META.search(head)
    if found is None:
        return "", None
    label = found[1].decode("ascii", "replace")
    # What was found is in ASCII, so it is not in UTF-16.
    return label, "utf-8" if re.fullmatch("(?i)utf-?16.*", label) else python_encoding(label)


def python_encoding(label: str) -> str | None:
    """Return Python's name for the encoding of a page that calls it so; None if there is no such encoding of pages."""
    try:
        name = codecs.lookup(_ALSO_CALLED.get(label.lower(), label)).name
        "".encode(name)  # some of Python's encodings are not of text
    except (LookupError, ValueError):
        return None
    return None if _NOT_OF_PAGES.match(name) else _LARGER.get(name, name)
