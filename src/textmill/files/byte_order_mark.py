"""Byte order marks: with which a text says that it is UTF-8, UTF-16 or UTF-32, as programs on Windows write it."""

import codecs

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

MARK_BYTES = max(map(len, _MARKS))
"""First bytes of a text that tell."""


def marked_encoding(start: bytes) -> str | None:
    """Return the encoding, as Python calls the one that drops the mark, of a text that begins so; None without mark."""
    return next((encoding for mark, encoding in _MARKS.items() if start.startswith(mark)), None)


def decode_marked(content: bytes) -> str:
    """Return a whole text, in the encoding of its byte order mark, or UTF-8. Raises UnicodeDecodeError."""
    return content.decode(marked_encoding(content) or "utf-8")
