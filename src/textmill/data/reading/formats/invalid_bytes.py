"""Bytes that are not in the encoding of a text: where they are, and which encoding it probably is."""

import codecs
from itertools import chain

from textmill.data.reading.document import Reading
from textmill.data.sources.findings import Notes
from textmill.errors import DataError

LOOKED_AT = 1 << 14
"""Bytes after the first one that is wrong, by which the encoding is guessed."""

_BEFORE = 64  # bytes before it
_SHOWN = 24  # characters
_DAMAGED = 0.1  # wrong bytes per other character beyond ASCII, up to which a text in UTF-8 is damaged
_ENCODINGS = (
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258"),
    *("iso8859_2", "iso8859_5", "iso8859_7", "koi8_r", "koi8_u", "cp866", "cp850", "cp874"),
    *("cp932", "euc_jp", "iso2022_jp", "gb18030", "big5", "cp949", "utf_16_le", "utf_16_be"),
)
"""Those that texts are in, of which the first counts where several are as likely."""

_FEW = 3  # characters beyond ASCII that are in UTF-8 by chance


def invalid_utf8(where: str, offset: int, error: UnicodeDecodeError, following: bytes = b"") -> DataError:
    """Return the error for bytes that are not UTF-8 at byte `offset` of a file.

    following: the bytes of the file after those that `error` knows.
    """
    bad = error.object[error.start]
    mend = remedy(error, following)
    return DataError(f"{where} is not UTF-8: byte 0x{bad:02X} at offset {offset:,} ({error.reason}); {mend}")


def invalid_in(name: str, encoding: str, offset: int, error: UnicodeDecodeError, following: bytes) -> DataError:
    """As `invalid_utf8`, for bytes that are not in the encoding that was given."""
    bad = error.object[error.start]
    sample = _around(error, following)
    mend = "name another --encoding, or use --encoding-errors replace"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
        mend = "it is UTF-8: leave --encoding out"
    except UnicodeDecodeError:
        found = probable_encodings(sample).items()
        if others := {other: shown for other, shown in found if codecs.lookup(other).name != encoding}:
            mend = _named(others)
    return DataError(f"{name} is not {encoding}: byte 0x{bad:02X} at offset {offset:,} ({error.reason}); {mend}")


def _around(error: UnicodeDecodeError, following: bytes) -> bytes:
    known = error.object[max(0, error.start - _BEFORE) : error.start + LOOKED_AT]
    return known + following[: LOOKED_AT - len(known)] if len(known) < LOOKED_AT else known


def remedy(error: UnicodeDecodeError, following: bytes = b"") -> str:
    """Return what to do about bytes that are not UTF-8, which depends on what is around them."""
    sample = _around(error, following)
    if is_damaged_utf8(sample):
        return "nearly all around it is UTF-8, so a few bytes are damaged: repair it, or use --encoding-errors replace"
    found = probable_encodings(sample)
    return _named(found) if found else "name its --encoding, such as latin-1, or use --encoding-errors replace"


def _named(found: dict[str, str]) -> str:
    probably = " or ".join(f"{encoding} ({shown!r})" for encoding, shown in found.items())
    how = f"read it with --encoding {next(iter(found))}, or use --encoding-errors replace"
    return f"it is probably {probably}: {how}"


def is_damaged_utf8(sample: bytes) -> bool:
    """Whether nearly all of the bytes are UTF-8, more than another encoding would be by chance."""
    text = sample.decode("utf-8", "replace")
    wrong = text.count("\ufffd")
    return wrong < _DAMAGED * (sum(character > "\x7f" for character in text) - wrong)


def probable_encodings(sample: bytes) -> dict[str, str]:
    """Return the encoding that bytes which are not UTF-8 are probably in -> some of their text in it.

    Two where one is as likely as the other: then the text shown is where they differ. Empty where nothing is likely, as
    for bytes that are no text.
    """
    from charset_normalizer import from_bytes  # takes a twentieth of a second, and is needed for an error alone

    found = list(from_bytes(sample, cp_isolation=list(_ENCODINGS)))
    likely = [match for match in found if (match.chaos, match.coherence) == (found[0].chaos, found[0].coherence)]
    names = {name for match in likely for name in match.could_be_from_charset}
    texts: dict[str, str] = {}
    for encoding in filter(names.__contains__, _ENCODINGS):
        texts.setdefault(" ".join(sample.decode(encoding, "replace").split()), encoding.replace("_", "-"))
    begins = list(texts)[:2]
    differ = (index for index, characters in enumerate(zip(*begins)) if len(set(characters)) > 1)
    beyond_ascii = (index for text in begins for index, character in enumerate(text) if character > "\x7f")
    start = max(0, next(chain(differ, beyond_ascii), 0) - _SHOWN // 2)
    return {texts[text]: text[start : start + _SHOWN] for text in begins}


def note_replaced(name: str, error: UnicodeDecodeError, following: bytes, notes: Notes) -> None:
    """Note that bytes become U+FFFD because that was asked for, and what the text probably is."""
    sample = _around(error, following)
    found = {} if is_damaged_utf8(sample) else probable_encodings(sample)
    probably = f"; it is probably {' or '.join(found)} (--encoding {next(iter(found))} reads it)" if found else ""
    notes.add(f"bytes that are not UTF-8 are replaced by U+FFFD{probably}", name)


def note_valid_utf8(name: str, beginning: bytes, reading: Reading, notes: Notes) -> None:
    """Note that a text is read in the encoding that was given though it begins in UTF-8."""
    if codecs.lookup(reading.encoding).name.startswith("utf"):
        return
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(beginning)
    except UnicodeDecodeError:
        return
    if sum(character > "\x7f" for character in text) >= _FEW:
        notes.add(f"read as {reading.encoding}, as --encoding says, though it is UTF-8", name)
